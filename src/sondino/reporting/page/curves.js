// The training curves, with their values where the pointer is.
function ticks(low, high, count) {
  const raw = (high - low) / count || Math.abs(high) || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((s) => s * power).find((s) => s >= raw * 0.999);
  const out = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-6; i++) out.push(Number((i * step).toPrecision(10)));
  return out;
}
const brief = (v, digits = 4) => (v === 0 ? "0" : Math.abs(v) < 1e-3 || Math.abs(v) >= 1e5 ? v.toExponential(digits - 3) : String(Number(v.toPrecision(digits))));
// The digits that tell these values apart, four at least.
const digitsOf = (values) => [4, 5, 6, 7, 8, 9, 10, 11, 12].find((d) => new Set(values.map((v) => brief(v, d))).size === values.length) || 12;
function chart(figure, spec, places) {
  const box = figure.querySelector(".chart");
  const plot = box.querySelector("svg");
  const tip = box.querySelector(".tip");
  const keys = figure.querySelectorAll(".keys b");
  const values = spec.series.flatMap((s) => s.values).filter((v) => v !== null);
  let low = Math.min(...values), high = Math.max(...values);
  const spread = high - low > 1e-9 * Math.max(Math.abs(low), Math.abs(high)) ? high - low : 0;
  const pad = spread * 0.06 || Math.abs(high) * 0.1 || 0.1;
  low -= pad; high += pad;
  const marks = ticks(low, high, 6);
  const digits = digitsOf(marks);
  const shown = (v) => brief(v, digits > 4 ? digits + 1 : 4);
  const first = Math.min(...places), last = Math.max(...places);
  const height = 230, left = Math.max(46, 14 + 7 * Math.max(...marks.map((t) => brief(t, digits).length))), right = 12, top = 10, bottom = 30;
  let width = 0;
  const X = (e) => left + (last === first ? 0.5 : (e - first) / (last - first)) * (width - left - right);
  const Y = (v) => top + (high - v) / (high - low) * (height - top - bottom);
  let cross = null;
  function draw() {
    width = box.clientWidth;
    plot.setAttribute("viewBox", `0 0 ${width} ${height}`);
    plot.replaceChildren();
    for (const t of marks) {
      svg("line", { class: "grid", x1: left, x2: width - right, y1: Y(t), y2: Y(t) }, plot);
      svg("text", { x: left - 8, y: Y(t) + 4, "text-anchor": "end" }, plot).textContent = brief(t, digits);
    }
    const steps = ticks(first, last, Math.max(2, Math.floor(width / 80))).filter((t) => Number.isInteger(t));
    for (const t of last === first ? [first] : steps) svg("text", { x: X(t), y: height - 10, "text-anchor": "middle" }, plot).textContent = t.toLocaleString("en");
    svg("text", { x: width - right, y: height + 6, "text-anchor": "end" }, plot).textContent = data.curves.unit;
    cross = svg("line", { class: "cross", y1: top, y2: height - bottom, visibility: "hidden" }, plot);
    for (const s of spec.series) {
      const known = places.map((e, i) => [e, s.values[i]]).filter(([, v]) => v !== null);
      const path = known.map(([e, v], i) => `${i ? "L" : "M"}${X(e).toFixed(1)},${Y(v).toFixed(1)}`).join("");
      svg("path", { class: "curve", d: path, stroke: colour(s.colour), "stroke-dasharray": s.dash || "" }, plot);
      if (known.length <= 40 && !s.dash) for (const [e, v] of known) svg("circle", { cx: X(e), cy: Y(v), r: known.length < 16 ? 3 : 2, fill: colour(s.colour) }, plot);
    }
  }
  const latest = (s) => s.values.findLast((v) => v !== null);
  const reset = () => { keys.forEach((key, k) => { key.textContent = shown(latest(spec.series[k])); }); tip.hidden = true; cross.setAttribute("visibility", "hidden"); };
  box.addEventListener("pointermove", (event) => {
    const x = event.clientX - box.getBoundingClientRect().left;
    let near = 0;
    places.forEach((e, i) => { if (Math.abs(X(e) - x) < Math.abs(X(places[near]) - x)) near = i; });
    keys.forEach((key, k) => { const v = spec.series[k].values[near]; key.textContent = v === null ? "–" : shown(v); });
    tip.textContent = `${data.curves.unit} ${places[near]}`;
    tip.hidden = false;
    tip.style.top = "-6px";
    tip.style.left = `${Math.max(0, Math.min(width - tip.offsetWidth, X(places[near]) - tip.offsetWidth / 2))}px`;
    cross.setAttribute("x1", X(places[near]));
    cross.setAttribute("x2", X(places[near]));
    cross.setAttribute("visibility", "visible");
  });
  box.addEventListener("pointerleave", reset);
  new ResizeObserver(draw).observe(box);
  draw();
  reset();
}
document.querySelectorAll("figure.curves").forEach((figure, i) => chart(figure, data.curves.charts[i], data.curves.places));
