// The errors of one model on one task: score per label, confusion matrix, and misclassified clips to play.
(() => {
  const closer = data.closer;
  const at = (id) => document.getElementById(id);
  const modelSelect = at("closer-model"), taskSelect = at("closer-task");
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  const share = (value) => `${100 * Math.max(0, Math.min(1, value))}%`;
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = `650 12.5px ${getComputedStyle(document.body).fontFamily}`;
  const widthOf = (text) => pen.measureText(text).width;
  // A name, cut to so many pixels; the whole one is its title, and stands beside the matrix when it is chosen.
  function fitted(name, most) {
    if (widthOf(name) <= most) return name;
    let count = name.length - 1;
    while (count > 1 && widthOf(`${name.slice(0, count)}…`) > most) count--;
    return `${name.slice(0, count)}…`;
  }
  // A name in lines of so many pixels, broken behind a space, _, - or / where there is one; the last line is cut.
  function wrapped(name, most, count) {
    const lines = [];
    let rest = name;
    while (lines.length < count - 1 && widthOf(rest) > most) {
      let end = rest.length - 1;
      while (end > 1 && widthOf(rest.slice(0, end)) > most) end--;
      const mark = Math.max(...[" ", "_", "-", "/"].map((one) => rest.lastIndexOf(one, end - 1)));
      end = mark > 0 ? mark + 1 : end;
      lines.push(rest.slice(0, end).trim());
      rest = rest.slice(end);
    }
    return [...lines, fitted(rest, most)];
  }
  // Lines of text one below the other, the middle of all at 0; the whole name is the title.
  function write(node, lines, name, size, x) {
    lines.forEach((line, i) => {
      svg("tspan", { x, y: 4 + (i - (lines.length - 1) / 2) * (size + 1.5) }, node).textContent = line;
    });
    svg("title", {}, node).textContent = name;
  }
  const arrow = () => [html("span", { class: "arrow", "aria-hidden": "true" }, " → "), html("span", { class: "hide" }, " predicted as ")];
  const clips = (count) => `${count} clip${count === 1 ? "" : "s"}`;
  let view = null;

  // ---- the score of each label ----
  function labels(metric) {
    const known = view.labels.map((name, i) => ({ name, score: view.scores[i], teacher: view.teacher[i] })).filter((l) => l.score !== null);
    known.sort((a, b) => b.score - a.score);
    at("labels").closest("section").hidden = !known.length;
    const what = metric === "mAP" ? "Average precision" : "Recall of each label on held-out clips";
    at("labels-note").textContent = `${what}, best first.${known.some((l) => l.teacher !== null) ? " The vertical mark is the teacher's." : ""}`;
    at("label-bars").replaceChildren(...known.map((label) => {
      const item = document.createElement("li");
      const name = html("span", { class: "label", title: label.name }, label.name);
      const track = html("span", { class: "track", "aria-hidden": "true" });
      const bar = html("i");
      bar.style.width = share(label.score);
      track.append(bar);
      if (label.teacher !== null) {
        const mark = html("b");
        mark.style.left = share(label.teacher);
        track.append(mark);
      }
      item.append(name, track, html("span", { class: "value" }, percent(label.score)));
      if (label.teacher !== null) item.append(html("span", { class: "hide" }, `, teacher ${percent(label.teacher)}`));
      return item;
    }));
  }

  // ---- the matrix ----
  const box = at("matrixbox"), plot = at("cells"), tip = at("matrix-tip");
  let side = 0, left = 0, top = 0, spot = null, counts = new Map(), rows = [];
  const key = (truth, given) => truth * view.labels.length + given;
  const count = (truth, given) => counts.get(key(truth, given)) || 0;

  function matrix() {
    counts = new Map(view.cells.map(([truth, given, n]) => [key(truth, given), n]));
    rows = view.labels.map(() => 0);
    for (const [truth, , n] of view.cells) rows[truth] += n;
    at("matrix").closest("section").hidden = !view.cells.length;
    at("matrix-note").textContent = `Rows: true label. Columns: predicted label. ${view.clips - view.wrong} of ${clips(view.clips)} are correct (green). Shade: share of the row.`;
    draw();
    if (view.pairs.length) choose(view.pairs[0][0], view.pairs[0][1], false);
    else if (view.labels.length) choose(0, 0, false);
    at("matrix-status").textContent = ""; // nothing was asked for yet
  }
  function draw() {
    const n = view.labels.length;
    if (!view.cells.length || !box.clientWidth) return;
    const wide = box.clientWidth;
    // The widths of names are those in bold, which a chosen row's is.
    const most = wide < 500 ? 88 : 180;
    left = 14 + Math.ceil(Math.min(most, Math.max(...view.labels.map(widthOf))));
    side = Math.max(13, Math.min(56, Math.floor((wide - left - 2) / n)));
    const size = side < 16 ? 11 : 12.5;
    const names = view.labels.map((name) => wrapped(name, most, Math.max(1, Math.floor(side / (size + 1.5)))));
    top = left;
    const width = left + n * side + 2, height = top + n * side + 2;
    plot.setAttribute("width", width);
    plot.setAttribute("height", height);
    plot.setAttribute("viewBox", `0 0 ${width} ${height}`);
    plot.replaceChildren();
    svg("rect", { class: "ground", x: left, y: top, width: n * side, height: n * side, rx: 3 }, plot);
    const lines = side < 16 ? "" : Array.from({ length: n - 1 }, (_, i) => `M${left},${top + (i + 1) * side}h${n * side}M${left + (i + 1) * side},${top}v${n * side}`).join("");
    svg("path", { class: "grid", d: lines }, plot);
    for (const [truth, given, found] of view.cells) {
      const share = found / rows[truth], opacity = 0.16 + 0.84 * share ** 0.7;
      const cell = svg("rect", {
        class: truth === given ? "right" : "wrong", x: left + given * side + 0.5, y: top + truth * side + 0.5, width: side - 1, height: side - 1, rx: Math.min(3, side / 6),
      }, plot);
      cell.style.fillOpacity = opacity;
      if (side >= 22) {
        svg("text", { class: opacity > 0.6 ? "on" : "", x: left + (given + 0.5) * side, y: top + (truth + 0.5) * side + 4, "text-anchor": "middle", "font-size": side < 30 ? 11 : 12.5 }, plot).textContent = found;
      }
    }
    svg("rect", { class: "frame", width: side, height: side, rx: Math.min(3, side / 6), visibility: "hidden" }, plot);
    // The names of the rows stay where they are when a large matrix is pushed aside.
    const fixed = svg("g", { class: "rows" }, plot);
    svg("rect", { x: 0, y: top, width: left - 4, height: n * side }, fixed);
    view.labels.forEach((name, i) => {
      const middle = (i + 0.5) * side;
      const row = svg("text", { class: "name row", transform: `translate(0 ${top + middle})`, "text-anchor": "end", "font-size": size }, fixed);
      const column = svg("text", { class: "name column", transform: `translate(${left + middle} ${top - 8}) rotate(-90)`, "font-size": size }, plot);
      write(row, names[i], name, size, left - 8);
      write(column, names[i], name, size, 0);
    });
    frame();
    push();
  }
  function push() {
    plot.querySelector(".rows")?.setAttribute("transform", `translate(${box.scrollLeft} 0)`);
    box.parentElement.classList.toggle("more", box.scrollLeft + box.clientWidth < box.scrollWidth - 1);
  }
  box.addEventListener("scroll", push);
  function frame() {
    const node = plot.querySelector(".frame");
    if (!node) return;
    node.setAttribute("visibility", spot ? "visible" : "hidden");
    plot.querySelectorAll(".name.row").forEach((name, i) => name.classList.toggle("here", spot?.[0] === i));
    plot.querySelectorAll(".name.column").forEach((name, i) => name.classList.toggle("here", spot?.[1] === i));
    if (!spot) return;
    node.setAttribute("x", left + spot[1] * side);
    node.setAttribute("y", top + spot[0] * side);
  }
  const words = (truth, given) => {
    const found = count(truth, given), name = view.labels[truth];
    return truth === given
      ? `${found} of ${clips(rows[truth])} of ${name} are correct (${percent(rows[truth] ? found / rows[truth] : 0)})`
      : `${found || "none"} of ${clips(rows[truth])} of ${name}${found ? ` (${percent(found / rows[truth])})` : ""} predicted as ${view.labels[given]}`;
  };
  function point(cell) {
    tip.hidden = !cell;
    if (!cell) return;
    const [truth, given] = cell;
    tip.replaceChildren(html("b", {}, truth === given ? view.labels[truth] : `${view.labels[truth]} → ${view.labels[given]}`), words(truth, given));
    const x = left + (given + 0.5) * side - box.scrollLeft, y = top + truth * side;
    tip.style.left = `${Math.max(4, Math.min(box.clientWidth - tip.offsetWidth - 4, x - tip.offsetWidth / 2))}px`;
    tip.style.top = `${y - tip.offsetHeight - 8 < 0 ? y + side + 8 : y - tip.offsetHeight - 8}px`;
  }
  function choose(truth, given, follow = true) {
    spot = [truth, given];
    frame();
    const examples = view.mistakes.filter((m) => m.truth === truth && m.given === given);
    at("cell").textContent = truth === given ? `${view.labels[truth]}, correct` : `${view.labels[truth]} → ${view.labels[given]}`;
    at("cell-what").textContent = words(truth, given) + (examples.length && examples.length < count(truth, given) ? `; the most confident ${examples.length}:` : examples.length ? ":" : ".");
    at("cell-clips").replaceChildren(...examples.map((m) => mistake(m, false)));
    at("matrix-status").textContent = words(truth, given);
    const x = left + given * side;
    if (follow && (x < box.scrollLeft + left || x + side > box.scrollLeft + box.clientWidth)) box.scrollLeft = x - box.clientWidth / 2;
  }
  const cellOf = (event) => {
    const area = plot.getBoundingClientRect();
    const given = Math.floor((event.clientX - area.left - left) / side), truth = Math.floor((event.clientY - area.top - top) / side);
    const n = view.labels.length;
    return given >= 0 && truth >= 0 && given < n && truth < n ? [truth, given] : null;
  };
  plot.addEventListener("pointermove", (event) => { if (event.pointerType !== "touch") point(cellOf(event)); });
  plot.addEventListener("pointerleave", () => point(null));
  plot.addEventListener("blur", () => point(null));
  plot.addEventListener("click", (event) => {
    const cell = cellOf(event);
    if (cell) choose(...cell);
  });
  plot.addEventListener("keydown", (event) => {
    const n = view.labels.length;
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (step) {
      const [truth, given] = spot ? [spot[0] + step[0], spot[1] + step[1]] : [0, 0];
      choose(Math.max(0, Math.min(n - 1, truth)), Math.max(0, Math.min(n - 1, given)));
      point(spot);
    } else if (event.key === "n" || event.key === "N") {
      const wrong = view.cells.filter(([truth, given]) => truth !== given);
      const now = spot ? key(...spot) : -1;
      const next = wrong.find(([truth, given]) => key(truth, given) > now) || wrong[0];
      if (next) { choose(next[0], next[1]); point(spot); }
    } else if (event.key === "Enter" || event.key === " ") at("cell-clips").querySelector("button:enabled")?.click();
    else if (event.key === "Escape") point(null);
    else return;
    event.preventDefault();
  });
  new ResizeObserver(() => { if (view) draw(); }).observe(box);

  // ---- misclassified clips ----
  function mistake(m, whole = true) {
    const item = document.createElement("li");
    const name = closer.clips[m.clip];
    const text = html("div", { class: "words" });
    const truth = m.truths ?? (m.truth < 0 ? "no label" : view.labels[m.truth]);
    if (whole) {
      const pair = html("div", { class: "pair" });
      pair.append(html("span", {}, truth || "no label"), ...arrow(), html("span", { class: "given" }, view.labels[m.given]));
      text.append(pair);
    }
    text.append(html("div", { class: whole ? "what" : "pair" }, name));
    item.append(clipButton(closer.sound[m.clip], name), text);
    if (m.sure !== null) item.append(html("span", { class: "sure", title: "probability" }, `${Math.round(100 * m.sure)} %`));
    return item;
  }
  function pair([truth, given, found]) {
    const item = document.createElement("li");
    const text = html("div", { class: "words" });
    const pair = html("div", { class: "pair" });
    pair.append(html("span", {}, view.labels[truth]), ...arrow(), html("span", { class: "given" }, view.labels[given]));
    text.append(pair, html("div", { class: "what" }, `${found} of ${clips(rows[truth])}`));
    const buttons = html("div", { class: "buttons" });
    for (const m of view.mistakes) if (m.truth === truth && m.given === given && buttons.children.length < 3) buttons.append(clipButton(closer.sound[m.clip], closer.clips[m.clip]));
    item.append(text, buttons);
    return item;
  }
  function mistakes() {
    at("mistakes").closest("section").hidden = !view.mistakes.length;
    const examples = view.mistakes.some((m) => closer.sound[m.clip] >= 0);
    at("mistakes-note").textContent = `${view.wrong} of ${clips(view.clips)} that were held out ${view.several ? "have a most probable label that is wrong" : "are misclassified"}.${examples ? " Press to play a clip's loudest 3 seconds." : ""}`;
    at("confident").replaceChildren(...view.listed.map((i) => mistake(view.mistakes[i])));
    at("frequent-box").hidden = !view.pairs.length;
    at("frequent").replaceChildren(...view.pairs.map(pair));
  }

  const nothing = { labels: [], scores: [], teacher: [], cells: [], pairs: [], mistakes: [], listed: [], clips: 0, wrong: 0, several: false };
  function show() {
    point(null);
    view = closer.views[`${modelSelect.selectedIndex} ${taskSelect.selectedIndex}`] || nothing;
    labels(closer.tasks[taskSelect.selectedIndex].metric);
    matrix();
    mistakes();
  }
  modelSelect.addEventListener("change", show);
  taskSelect.addEventListener("change", show);
  show();
})();
