// Axes drawn as SVG, beside a spectrogram and below it.

import type { Tick } from "./axes";
import { addSvg } from "./dom";

/** Times below a picture, 20 pixels high. */
export function drawTimes(svg: SVGSVGElement, width: number, ticks: Tick[]): void {
  drawAxis(svg, width, 20, ticks, (at) => ({ x: at * width, y1: 0, y2: 4 }));
}

/** Frequencies at the left of a picture. */
export function drawFrequencies(svg: SVGSVGElement, width: number, height: number, ticks: Tick[]): void {
  drawAxis(svg, width, height, ticks, (at) => ({ y: (1 - at) * height, x1: width - 4, x2: width }));
}

type Mark = { x: number; y1: number; y2: number } | { y: number; x1: number; x2: number };

/** Ticks with their texts, below a horizontal axis and to the left of an upright one; all stay inside. */
function drawAxis(svg: SVGSVGElement, width: number, height: number, ticks: Tick[], place: (at: number) => Mark): void {
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();
  for (const { at, text } of ticks) {
    const mark = place(at);
    const across = "x" in mark;
    const [x, y] = across ? [mark.x, 17] : [mark.x1 - 4, Math.min(height - 3, Math.max(10, mark.y + 4))];
    const anchor = !across || x > width - 12 ? "end" : x < 12 ? "start" : "middle";
    const line = across ? { x1: mark.x, x2: mark.x, y1: mark.y1, y2: mark.y2 } : { x1: mark.x1, x2: mark.x2, y1: mark.y, y2: mark.y };
    addSvg(svg, "line", line);
    addSvg(svg, "text", { x, y, "text-anchor": anchor }).textContent = text;
  }
}
