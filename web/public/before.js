// Before anything else, and in words that every browser understands: why this page cannot work here.
(function () {
  "use strict";
  var why = "";
  if (location.protocol === "file:") {
    why = "This page was opened as a file, from which a browser lets it fetch nothing: run “sondino demo”, or put its folder on any web server.";
  } else if (typeof WebAssembly !== "object" || typeof Worker !== "function" || !("noModule" in document.createElement("script"))) {
    why = "This browser has no WebAssembly, which the model runs on: switch it on, or take a newer browser.";
  }
  if (!why) return;
  window.cannotWork = true;
  document.addEventListener("DOMContentLoaded", function () {
    var trouble = document.getElementById("trouble");
    trouble.textContent = why;
    trouble.hidden = false;
    document.getElementById("state").textContent = "";
  });
})();
