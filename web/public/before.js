// Runs first, in old JavaScript that every browser understands: why this page cannot work here.
(function () {
  "use strict";
  var why = "";
  if (location.protocol === "file:") {
    why = "This page was opened as a file, and browsers do not let it load its model then: run “sondino demo”, or put its folder on a web server.";
  } else if (typeof WebAssembly !== "object" || typeof Worker !== "function" || !("noModule" in document.createElement("script"))) {
    why = "This browser has no WebAssembly, which the model needs: enable it, or use a newer browser.";
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
