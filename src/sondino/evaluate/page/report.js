"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const NS = "http://www.w3.org/2000/svg";
  const svg = (tag, attributes = {}, parent = null) => {
    const node = document.createElementNS(NS, tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (parent) parent.append(node);
    return node;
  };
  const html = (tag, attributes = {}, text = "") => {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.textContent = text;
    return node;
  };
  const colour = (i) => `var(--c${i})`;
  // Ten colours times five shapes: fifty clusters stay apart, also for those who see fewer colours.
  const shape = (kind, r) => [
    `M${-r},0a${r},${r} 0 1 0 ${2 * r},0a${r},${r} 0 1 0 ${-2 * r},0`,
    `M${-0.9 * r},${-0.9 * r}h${1.8 * r}v${1.8 * r}h${-1.8 * r}z`,
    `M0,${-1.2 * r}L${1.15 * r},${0.8 * r}H${-1.15 * r}z`,
    `M0,${-1.3 * r}L${1.3 * r},0L0,${1.3 * r}L${-1.3 * r},0z`,
    `M${-0.4 * r},${-1.1 * r}h${0.8 * r}v${0.7 * r}h${0.7 * r}v${0.8 * r}h${-0.7 * r}v${0.7 * r}h${-0.8 * r}v${-0.7 * r}h${-0.7 * r}v${-0.8 * r}h${0.7 * r}z`,
  ][kind];

  // ---- the map ----
  function soundMap(points) {
    const stage = document.getElementById("stage");
    const plot = stage.querySelector("svg.map");
    const tip = stage.querySelector(".tip");
    const status = document.getElementById("status");
    const player = document.getElementById("player");
    const go = document.getElementById("go");
    const bars = document.getElementById("bars");
    const chips = document.getElementById("chips");
    const find = document.getElementById("find");
    const pointing = document.getElementById("pointing");
    const n = points.id.length;
    const layer = svg("g", {}, plot);
    const over = svg("g", { visibility: "hidden" }, plot);
    svg("circle", { class: "pulse", r: 10 }, over);
    svg("circle", { class: "ring", r: 10 }, over);
    const nodes = points.id.map((id, i) => svg("path", { class: points.audio[i] ? "p" : "p mute", "data-i": i }, layer));
    let mode = points.modes[0];
    let only = -1; // the group that is shown alone
    let chosen = -1;
    let zoom = 1, panX = 0, panY = 0; // pan in pixels, of the middle of the map
    let width = 0, height = 0;
    let shown = new Array(n).fill(true);
    const screen = new Float64Array(2 * n);

    const describe = (i) => points.modes.map((m) => m.groups[m.of[i]].name).join(" · ");
    function place() {
      const margin = 24, buttons = 34; // the zoom buttons stand on the right
      // The axes mean nothing, so a long layout may be stretched to fill the stage, but not out of all likeness.
      const wide = (width - buttons - 2 * margin) / points.width, high = (height - 2 * margin) / points.height;
      const scaleX = Math.min(wide, 1.7 * high) * zoom, scaleY = Math.min(high, 1.7 * wide) * zoom;
      for (let i = 0; i < n; i++) {
        screen[2 * i] = (width - buttons) / 2 + panX + (points.x[i] - points.width / 2) * scaleX;
        screen[2 * i + 1] = height / 2 + panY + (points.y[i] - points.height / 2) * scaleY;
        nodes[i].setAttribute("transform", `translate(${screen[2 * i].toFixed(1)},${screen[2 * i + 1].toFixed(1)})`);
      }
      ring();
    }
    function ring() {
      over.setAttribute("visibility", chosen < 0 ? "hidden" : "visible");
      if (chosen >= 0) over.setAttribute("transform", nodes[chosen].getAttribute("transform"));
    }
    function size() {
      width = stage.clientWidth;
      const tall = Math.min(Math.max(points.height / points.width + 0.06, 0.58), 0.8);
      height = Math.round(Math.min(Math.max(width * tall, 320), 620));
      plot.setAttribute("height", height);
      stage.parentElement.style.setProperty("--stage", `${height}px`);
      plot.setAttribute("viewBox", `0 0 ${width} ${height}`);
      clamp();
      place();
      paint();
    }
    function clamp() {
      panX = Math.max(-width * (zoom - 1) / 2, Math.min(width * (zoom - 1) / 2, panX));
      panY = Math.max(-height * (zoom - 1) / 2, Math.min(height * (zoom - 1) / 2, panY));
      stage.classList.toggle("zoomed", zoom > 1);
    }
    function zoomBy(factor, x = width / 2, y = height / 2) {
      const next = Math.max(1, Math.min(12, zoom * factor));
      panX = x - width / 2 - (x - width / 2 - panX) * next / zoom;
      panY = y - height / 2 - (y - height / 2 - panY) * next / zoom;
      zoom = next;
      clamp();
      place();
    }
    function paint() {
      const r = (n > 900 ? 4 : n > 300 ? 5 : 6) * (width < 500 ? 0.8 : 1);
      const wanted = find.value.trim().toLowerCase();
      nodes.forEach((node, i) => {
        const group = mode.groups[mode.of[i]];
        node.setAttribute("d", shape(group.shape, points.audio[i] ? r : 0.65 * r));
        node.style.fill = colour(group.colour);
        shown[i] = (only < 0 || mode.of[i] === only) && (!wanted || `${points.id[i]} ${describe(i)}`.toLowerCase().includes(wanted));
        node.classList.toggle("off", !shown[i]);
      });
      for (const chip of chips.querySelectorAll("button")) chip.setAttribute("aria-pressed", String(Number(chip.dataset.group) === only));
    }
    function legend() {
      chips.replaceChildren(...mode.groups.map((group, g) => ({ group, g })).sort((a, b) => b.group.size - a.group.size).map(({ group, g }) => {
        const chip = html("button", { type: "button", class: "chip", "aria-pressed": "false", "data-group": g });
        const icon = svg("svg", { viewBox: "-8 -8 16 16", "aria-hidden": "true" }, chip);
        svg("path", { d: shape(group.shape, 5.5), style: `fill:${colour(group.colour)}` }, icon);
        chip.append(group.name, " ", html("small", {}, group.size));
        chip.addEventListener("click", () => { only = only === g ? -1 : g; paint(); });
        const item = document.createElement("li");
        item.append(chip);
        return item;
      }));
    }
    function nearest(x, y, reach) {
      let best = -1, least = reach * reach;
      for (let i = 0; i < n; i++) {
        if (!shown[i]) continue;
        const d = (screen[2 * i] - x) ** 2 + (screen[2 * i + 1] - y) ** 2;
        if (d < least) { least = d; best = i; }
      }
      return best;
    }
    function show(i) {
      tip.hidden = i < 0;
      if (i < 0) return;
      tip.replaceChildren(html("b", {}, points.id[i]), describe(i));
      const x = screen[2 * i], y = screen[2 * i + 1];
      tip.style.left = `${Math.max(4, Math.min(width - tip.offsetWidth - 4, x - tip.offsetWidth / 2))}px`;
      tip.style.top = `${y - tip.offsetHeight - 12 < 4 ? y + 14 : y - tip.offsetHeight - 12}px`;
    }
    function choose(i, sound) {
      if (i < 0) return;
      chosen = i;
      ring();
      document.getElementById("clip").textContent = points.id[i];
      document.getElementById("group").textContent = describe(i) + (points.audio[i] ? "" : " · no sound on this page");
      go.disabled = !points.audio[i];
      bars.replaceChildren(...(points.outline[i] || []).map((v, j) =>
        svg("rect", { x: j * 4, y: 23 - Math.max(1, v * 0.22), width: 2.6, height: 2 * Math.max(1, v * 0.22), rx: 1.3 })));
      player.pause();
      if (points.audio[i]) player.src = points.audio[i]; else player.removeAttribute("src");
      player.dataset.clip = points.id[i];
      status.textContent = `${points.id[i]}, ${describe(i)}${points.audio[i] ? "" : ", no sound"}`;
      if (sound) play();
    }
    function play() {
      if (chosen < 0 || !points.audio[chosen]) return;
      player.currentTime = 0;
      // A second click before the first sound has started stops it: nothing is wrong then.
      player.play().catch((error) => { if (error.name !== "AbortError") status.textContent = `This browser cannot play the clip: ${error.message}`; });
    }
    function progress() {
      const share = player.duration ? player.currentTime / player.duration : 0;
      [...bars.children].forEach((bar, j, all) => bar.classList.toggle("done", !player.paused && j / all.length <= share));
      if (!player.paused) requestAnimationFrame(progress);
    }
    function state() {
      const on = !player.paused && !player.ended;
      over.classList.toggle("playing", on);
      go.setAttribute("aria-label", on ? "Stop" : "Play the clip");
      go.querySelector("path").setAttribute("d", on ? "M3 3h12v12H3z" : "M4 2l12 7-12 7z");
      progress();
    }
    for (const event of ["play", "pause", "ended"]) player.addEventListener(event, state);
    go.addEventListener("click", () => (player.paused ? play() : player.pause()));

    const spot = (event) => {
      const box = plot.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    let drag = null;
    plot.addEventListener("pointerdown", (event) => { drag = { x: event.clientX, y: event.clientY, panX, panY, moved: false }; });
    plot.addEventListener("pointermove", (event) => {
      if (drag && event.buttons && zoom > 1) {
        const dx = event.clientX - drag.x, dy = event.clientY - drag.y;
        if (!drag.moved && Math.hypot(dx, dy) > 5) { drag.moved = true; plot.setPointerCapture(event.pointerId); show(-1); }
        if (drag.moved) { panX = drag.panX + dx; panY = drag.panY + dy; clamp(); place(); return; }
      }
      if (event.pointerType === "touch") return;
      const i = nearest(...spot(event), 15);
      show(i);
      if (pointing.checked && i >= 0 && i !== chosen) choose(i, true);
    });
    plot.addEventListener("pointerleave", () => show(-1));
    plot.addEventListener("click", (event) => {
      if (drag && drag.moved) { drag.moved = false; return; }
      const own = event.target.dataset.i;
      const i = event.detail === 0 && own !== undefined ? Number(own) : nearest(...spot(event), 24);
      choose(i, true);
    });
    plot.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // a plain wheel scrolls the page
      event.preventDefault();
      zoomBy(Math.exp(-event.deltaY * 0.004), ...spot(event));
    }, { passive: false });
    plot.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (step) {
        const from = chosen >= 0 ? [screen[2 * chosen], screen[2 * chosen + 1]] : [width / 2, height / 2];
        let best = -1, least = Infinity;
        for (let i = 0; i < n; i++) {
          if (!shown[i] || i === chosen) continue;
          const dx = screen[2 * i] - from[0], dy = screen[2 * i + 1] - from[1];
          const along = dx * step[0] + dy * step[1], aside = Math.abs(dx * step[1] + dy * step[0]);
          if (along > 0 && aside <= 1.2 * along && along + 2 * aside < least) { least = along + 2 * aside; best = i; }
        }
        if (best < 0 && chosen < 0) best = nearest(width / 2, height / 2, Infinity);
        choose(best, false);
        if (best >= 0) show(best);
      } else if (event.key === "Enter" || event.key === " ") play();
      else if (event.key === "Escape") { only = -1; show(-1); paint(); }
      else if (event.key === "+" || event.key === "=") zoomBy(1.5);
      else if (event.key === "-") zoomBy(1 / 1.5);
      else return;
      event.preventDefault();
    });
    plot.addEventListener("blur", () => show(-1));
    stage.querySelector(".zoom").addEventListener("click", (event) => {
      const kind = event.target.dataset.zoom;
      if (kind) zoomBy({ in: 1.6, out: 1 / 1.6, fit: 0 }[kind]);
    });
    document.getElementById("mode")?.addEventListener("change", (event) => {
      mode = points.modes[event.target.selectedIndex];
      only = -1;
      legend();
      paint();
    });
    find.addEventListener("input", paint);
    find.addEventListener("keydown", (event) => { if (event.key === "Enter") choose(shown.indexOf(true), true); });
    const list = document.getElementById("cliplist");
    list.addEventListener("toggle", () => {
      const body = list.querySelector("tbody");
      if (body.children.length) return;
      points.id.forEach((id, i) => {
        const row = body.insertRow();
        row.append(html("th", { scope: "row" }, id), ...points.modes.map((m) => html("td", {}, m.groups[m.of[i]].name)));
        const cell = row.insertCell();
        if (!points.audio[i]) return;
        const button = html("button", { type: "button", class: "listen", "aria-label": `Play ${id}` }, "▶ play");
        button.addEventListener("click", () => choose(i, true));
        cell.append(button);
      });
    });
    legend();
    new ResizeObserver(size).observe(stage);
    size();
  }

  // ---- curves ----
  function ticks(low, high, count) {
    const raw = (high - low) / count || Math.abs(high) || 1;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 2.5, 5, 10].map((s) => s * power).find((s) => s >= raw * 0.999);
    const out = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-6; i++) out.push(Number((i * step).toPrecision(10)));
    return out;
  }
  const brief = (v) => (v === 0 ? "0" : Math.abs(v) < 1e-3 || Math.abs(v) >= 1e5 ? v.toExponential(1) : String(Number(v.toPrecision(4))));
  function chart(figure, spec, epochs) {
    const box = figure.querySelector(".chart");
    const plot = box.querySelector("svg");
    const tip = box.querySelector(".tip");
    const keys = figure.querySelectorAll(".keys b");
    const values = spec.series.flatMap((s) => s.values).filter((v) => v !== null);
    let low = Math.min(...values), high = Math.max(...values);
    const pad = (high - low) * 0.06 || Math.abs(high) * 0.1 || 0.1;
    low -= pad; high += pad;
    const first = Math.min(...epochs), last = Math.max(...epochs);
    const height = 230, left = 46, right = 12, top = 10, bottom = 30;
    let width = 0;
    const X = (e) => left + (last === first ? 0.5 : (e - first) / (last - first)) * (width - left - right);
    const Y = (v) => top + (high - v) / (high - low) * (height - top - bottom);
    let cross = null;
    function draw() {
      width = box.clientWidth;
      plot.setAttribute("viewBox", `0 0 ${width} ${height}`);
      plot.replaceChildren();
      for (const t of ticks(low, high, 6)) {
        svg("line", { class: "grid", x1: left, x2: width - right, y1: Y(t), y2: Y(t) }, plot);
        svg("text", { x: left - 8, y: Y(t) + 4, "text-anchor": "end" }, plot).textContent = brief(t);
      }
      const marks = ticks(first, last, Math.max(2, Math.floor(width / 80))).filter((t) => Number.isInteger(t));
      for (const t of last === first ? [first] : marks) svg("text", { x: X(t), y: height - 10, "text-anchor": "middle" }, plot).textContent = brief(t);
      svg("text", { x: width - right, y: height + 6, "text-anchor": "end" }, plot).textContent = "epoch";
      cross = svg("line", { class: "cross", y1: top, y2: height - bottom, visibility: "hidden" }, plot);
      for (const s of spec.series) {
        const known = epochs.map((e, i) => [e, s.values[i]]).filter(([, v]) => v !== null);
        const path = known.map(([e, v], i) => `${i ? "L" : "M"}${X(e).toFixed(1)},${Y(v).toFixed(1)}`).join("");
        svg("path", { class: "curve", d: path, stroke: colour(s.colour), "stroke-dasharray": s.dash || "" }, plot);
        if (known.length <= 40) for (const [e, v] of known) svg("circle", { cx: X(e), cy: Y(v), r: known.length < 16 ? 3 : 2, fill: colour(s.colour) }, plot);
      }
    }
    const latest = (s) => s.values.findLast((v) => v !== null);
    const reset = () => { keys.forEach((key, k) => { key.textContent = brief(latest(spec.series[k])); }); tip.hidden = true; cross.setAttribute("visibility", "hidden"); };
    box.addEventListener("pointermove", (event) => {
      const x = event.clientX - box.getBoundingClientRect().left;
      let near = 0;
      epochs.forEach((e, i) => { if (Math.abs(X(e) - x) < Math.abs(X(epochs[near]) - x)) near = i; });
      keys.forEach((key, k) => { const v = spec.series[k].values[near]; key.textContent = v === null ? "–" : brief(v); });
      tip.textContent = `epoch ${epochs[near]}`;
      tip.hidden = false;
      tip.style.top = "-6px";
      tip.style.left = `${Math.max(0, Math.min(width - tip.offsetWidth, X(epochs[near]) - tip.offsetWidth / 2))}px`;
      cross.setAttribute("x1", X(epochs[near]));
      cross.setAttribute("x2", X(epochs[near]));
      cross.setAttribute("visibility", "visible");
    });
    box.addEventListener("pointerleave", reset);
    new ResizeObserver(draw).observe(box);
    draw();
    reset();
  }

  if (data.points) soundMap(data.points);
  if (data.curves) document.querySelectorAll("figure").forEach((figure, i) => chart(figure, data.curves.charts[i], data.curves.epochs));
})();
