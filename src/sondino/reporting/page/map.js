// The map: points to look at, to filter and to play.
function clipMap(maps) {
  let points = maps[0];
  const stage = document.getElementById("stage");
  const plot = stage.querySelector("svg.map");
  const tip = stage.querySelector(".tip");
  const status = document.getElementById("status");
  const go = document.getElementById("go");
  const bars = document.getElementById("bars");
  const chips = document.getElementById("chips");
  const find = document.getElementById("find");
  const pointing = document.getElementById("pointing");
  const list = document.getElementById("cliplist");
  const layer = svg("g", {}, plot);
  const over = svg("g", { visibility: "hidden" }, plot);
  svg("circle", { class: "pulse", r: 10 }, over);
  svg("circle", { class: "ring", r: 10 }, over);
  let n, nodes, mode, shown, screen;
  let only = -1; // the group that is shown alone
  let chosen = -1;
  let zoom = 1, panX = 0, panY = 0; // pan in pixels, of the middle of the map
  let width = 0, height = 0;

  function open(next) {
    points = next;
    n = points.id.length;
    nodes = points.id.map((id, i) => svg("path", { class: playable(i) ? "p" : "p mute", "data-i": i }));
    layer.replaceChildren(...nodes);
    mode = points.modes[document.getElementById("mode")?.selectedIndex || 0];
    shown = new Array(n).fill(true);
    screen = new Float64Array(2 * n);
    only = chosen = -1;
    zoom = 1;
    panX = panY = 0;
    list.querySelector("tbody").replaceChildren();
    if (list.open) fillList();
    legend();
  }
  const playable = (i) => points.sound[i] >= 0;
  const describe = (i) => points.modes.map((m) => m.groups[m.of[i]].name).join(" · ");
  function place() {
    const margin = 24, buttons = 34; // the zoom buttons stand on the right
    // The axes have no unit, so a long layout may be stretched to fill the stage, by up to 1.7.
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
      node.setAttribute("d", shape(group.shape, playable(i) ? r : 0.65 * r));
      node.style.fill = colour(group.colour);
      shown[i] = (only < 0 || mode.of[i] === only) && (!wanted || `${points.id[i]} ${describe(i)}`.toLowerCase().includes(wanted));
      node.classList.toggle("off", !shown[i]);
    });
    for (const chip of chips.querySelectorAll("button")) chip.setAttribute("aria-pressed", String(Number(chip.dataset.group) === only));
  }
  function legend() {
    const others = mode.groups.length > COLOURS ? mode.groups.filter((group) => group.colour === COLOURS - 1).length : 0;
    const note = document.getElementById("others");
    note.hidden = !others;
    note.textContent = `The ${COLOURS - 1} largest groups have a colour each; the other ${others} share one.`;
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
    document.getElementById("group").textContent = describe(i) + (playable(i) ? "" : " · no audio on this page");
    go.disabled = !playable(i);
    bars.replaceChildren(...audio.outline(points.sound[i]).map((v, j) =>
      svg("rect", { x: j * 4, y: 23 - Math.max(1, v * 0.22), width: 2.6, height: 2 * Math.max(1, v * 0.22), rx: 1.3 })));
    audio.stop(control);
    status.textContent = `${points.id[i]}, ${describe(i)}${playable(i) ? "" : ", no audio"}`;
    if (sound) play();
  }
  function play() {
    if (chosen >= 0 && playable(chosen)) audio.start(control, points.sound[chosen], points.id[chosen]);
  }
  const control = {
    state(on) {
      over.classList.toggle("playing", on);
      go.setAttribute("aria-label", on ? "Stop" : "Play the clip");
      go.querySelector("path").setAttribute("d", on ? STOP : PLAY);
    },
    progress(share, on) {
      [...bars.children].forEach((bar, j, all) => bar.classList.toggle("done", on && j / all.length <= share));
    },
    failed(reason) { status.textContent = `This browser cannot play the clip: ${reason}`; },
  };
  go.addEventListener("click", () => (audio.isPlaying(control) ? audio.stop(control) : play()));

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
  document.getElementById("whose")?.addEventListener("change", (event) => {
    const id = points.id[chosen];
    audio.stop(control);
    open(maps[event.target.selectedIndex]);
    size();
    choose(points.id.indexOf(id), false); // the same clip, in the other model's space
    ring();
  });
  function fillList() {
    const body = list.querySelector("tbody");
    if (body.children.length) return;
    points.id.forEach((id, i) => {
      const row = body.insertRow();
      row.append(html("th", { scope: "row" }, id), ...points.modes.map((m) => html("td", {}, m.groups[m.of[i]].name)));
      const cell = row.insertCell();
      if (!playable(i)) return;
      const button = html("button", { type: "button", class: "listen", "aria-label": `Play ${id}` }, "▶ play");
      button.addEventListener("click", () => choose(i, true));
      cell.append(button);
    });
  }
  list.addEventListener("toggle", fillList);
  open(points);
  new ResizeObserver(size).observe(stage);
  size();
}
clipMap(data.maps);
