"use strict";
// A slider fades from each layer of its figure to the next one; a button goes to its layer.
for (const figure of document.querySelectorAll(".compare")) {
  const slider = figure.querySelector("input");
  const layers = [...figure.querySelectorAll(".layers img")];
  const show = () => {
    layers.forEach((layer, i) => {
      layer.style.opacity = i === 0 ? 1 : Math.min(Math.max(slider.valueAsNumber - i + 1, 0), 1);
    });
  };
  slider.addEventListener("input", show);
  figure.querySelectorAll("button").forEach((button, i) => {
    button.addEventListener("click", () => {
      slider.value = i;
      show();
    });
  });
  show();
}
