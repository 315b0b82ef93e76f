"use strict";

const data = JSON.parse(document.getElementById("data").textContent);

// Texts become text nodes and never markup.
function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function text(words, tag = "span") {
  return make(tag, { class: "t", dir: "auto" }, words);
}

function percent(share, digits = 0) {
  return `${(100 * share).toFixed(digits)} %`;
}

// A strip of weights: the largest is full colour.
function heat(weights, label) {
  const strip = make("div", { class: "heat", role: "img", "aria-label": label });
  const most = Math.max(...weights, 1e-9);
  weights.forEach((weight, row) => {
    const cell = make("i", { title: `row ${row}: ${percent(weight, 1)}` });
    cell.style.opacity = weight / most;
    strip.append(cell);
  });
  return strip;
}

function typing(event) {
  return event.ctrlKey || event.metaKey || event.altKey ||
    ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName);
}

addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
});
