"""What makes a page hard to use: what axe-core finds, and the contrast of text with what lies behind it."""

from pathlib import Path

from helpers.browser import Page

AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
"""`npm ci` in web/ installs it."""
UNSURE = {"color-contrast", "label-content-name-mismatch"}
"""Rules that axe-core cannot decide for hidden parts of scrolling regions, short texts and symbols."""

CONTRAST = """(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgb = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = ([r, g, b]) => { const [x, y, z] = [r, g, b].map(v => (v /= 255) <= .04045 ? v / 12.92 :
    ((v + .055) / 1.055) ** 2.4); return .2126 * x + .7152 * y + .0722 * z; };
  const ground = (e) => { if (!e) return [255, 255, 255]; const [r, g, b, a] = rgb(getComputedStyle(e).backgroundColor);
    return a === 255 ? [r, g, b] : ground(e.parentElement).map((v, i) => v + ([r, g, b][i] - v) * a / 255); };
  const found = [];
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || !e.checkVisibility()) continue;
    if (e.matches('.hide, .skip, :disabled, noscript, script, title, .matrix text:not(.name)')) continue;
    const style = getComputedStyle(e);
    const [a, b] = [light(rgb(e instanceof SVGElement ? style.fill : style.color)), light(ground(e))];
    found.push([(Math.max(a, b) + .05) / (Math.min(a, b) + .05), `${e.tagName}.${e.getAttribute('class')}#${e.id}`]);
  }
  return found.sort((a, b) => a[0] - b[0])[0]; })()"""


def least_contrast(page: Page) -> tuple[float, str]:
    """The lowest contrast of any text with its background, and which element has it. Text on a picture is left out."""
    ratio, where = page.run(CONTRAST)
    return ratio, where


def faults_by_axe(page: Page) -> list[str]:
    """What axe-core finds, one line an element: the rule, and the element. Rules that it is unsure about count too."""
    page.run(f"{AXE.read_text(encoding='utf-8')};0")
    rules = page.run(
        "axe.run(document, {resultTypes: ['violations', 'incomplete']}).then(found => [...found.violations,"
        " ...found.incomplete.map(one => ({...one, unsure: true}))].map(one => [one.id, Boolean(one.unsure),"
        " one.nodes.map(node => node.target.join(' '))]))"
    )
    return [f"{rule}: {node}" for rule, unsure, nodes in rules if not (unsure and rule in UNSURE) for node in nodes]
