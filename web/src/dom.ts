// Small helpers for the page's elements.

export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found as T;
}

export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, string> = {},
  text = "",
): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.textContent = text;
  return node;
}

/** An element of a drawing, at its end. */
export function addSvg(svg: SVGSVGElement, tag: string, attributes: Record<string, string | number>): SVGElement {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  svg.append(node);
  return node;
}

/** Seconds for people: "0.4 s", "12 s", "3 min 5 s". */
export function duration(seconds: number): string {
  if (seconds < 9.95) return `${Number(seconds.toPrecision(2))} s`;
  const whole = Math.round(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** A probability: "83 %", and one that is not quite 0 never as "0 %". */
export function percent(probability: number): string {
  const whole = Math.round(100 * probability);
  return whole || !probability ? `${whole} %` : "<1 %";
}

/** "0.83", and never "-0.00". */
export function cosineText(cosine: number): string {
  return (Math.round(cosine * 100) / 100 + 0).toFixed(2);
}
