// Shared by every page: the data, a few helpers, and one audio player.
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
const COLOURS = 10; // the last is that of all further groups
// Groups differ in shape too, for those who see fewer colours.
const shape = (kind, r) => [
  `M${-r},0a${r},${r} 0 1 0 ${2 * r},0a${r},${r} 0 1 0 ${-2 * r},0`,
  `M${-0.9 * r},${-0.9 * r}h${1.8 * r}v${1.8 * r}h${-1.8 * r}z`,
  `M0,${-1.2 * r}L${1.15 * r},${0.8 * r}H${-1.15 * r}z`,
  `M0,${-1.3 * r}L${1.3 * r},0L0,${1.3 * r}L${-1.3 * r},0z`,
  `M${-0.4 * r},${-1.1 * r}h${0.8 * r}v${0.7 * r}h${0.7 * r}v${0.8 * r}h${-0.7 * r}v${0.7 * r}h${-0.8 * r}v${-0.7 * r}h${-0.7 * r}v${-0.8 * r}h${0.7 * r}z`,
][kind];
const PLAY = "M4 2l12 7-12 7z", STOP = "M3 3h12v12H3z";
const playIcon = (button) => svg("path", { d: PLAY }, svg("svg", { viewBox: "0 0 18 18", "aria-hidden": "true" }, button));

// One clip plays at a time. A control has state(on) and progress(share, on), called while its clip plays.
const audio = (() => {
  const player = document.getElementById("player");
  const sounds = data.sounds || { uri: [], outline: [] };
  let owner = null;
  let place = -1;
  const isOn = () => !player.paused && !player.ended;
  function progress() {
    owner?.progress(player.duration ? player.currentTime / player.duration : 0, isOn());
    if (isOn()) requestAnimationFrame(progress);
  }
  for (const event of ["play", "pause", "ended"]) player.addEventListener(event, () => { owner?.state(isOn()); progress(); });
  return {
    outline: (sound) => (sound < 0 ? [] : sounds.outline[sound]),
    start(control, sound, name) {
      if (owner && owner !== control) { owner.state(false); owner.progress(0, false); }
      owner = control;
      if (place !== sound) player.src = sounds.uri[sound];
      place = sound;
      player.dataset.clip = name;
      player.currentTime = 0;
      // A second click before the first sound has started stops it: nothing is wrong then.
      player.play().catch((error) => { if (error.name !== "AbortError") owner?.failed?.(error.message); });
    },
    stop(control) { if (owner === control) player.pause(); },
    isPlaying: (control) => owner === control && isOn(),
  };
})();
// A round button that plays a clip; disabled where the page has no audio of it.
function clipButton(sound, name) {
  const button = html("button", { type: "button", class: "go small", "data-clip": name });
  playIcon(button);
  const control = {
    state(on) {
      button.classList.toggle("on", on);
      button.setAttribute("aria-label", `${on ? "Stop" : "Play"} ${name}`);
      button.querySelector("path").setAttribute("d", on ? STOP : PLAY);
    },
    progress(share, on) { button.style.setProperty("--share", on ? share : 0); },
  };
  control.state(false);
  if (sound < 0) {
    button.disabled = true;
    button.setAttribute("aria-label", `${name} has no audio on this page`);
    button.title = "no audio on this page";
  }
  button.addEventListener("click", () => (audio.isPlaying(control) ? audio.stop(control) : audio.start(control, sound, name)));
  return button;
}
