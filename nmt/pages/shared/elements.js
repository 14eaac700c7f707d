"use strict";

/* A page is drawn by several files in one script, of which this is the first and page.js the last. */

const data = JSON.parse(document.getElementById("data").textContent);

/* Elements. Text of the data becomes text nodes and attributes, never markup. */

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function html(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function show(id, ...children) {
  document.getElementById(id).replaceChildren(...children);
}

function number(value) {
  return value.toLocaleString("en", { maximumFractionDigits: 4 });
}

function tenth(value) {
  return value.toFixed(1);
}

/* Light and dark. */

function isDark() {
  const { theme } = document.documentElement.dataset;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function toggleTheme() {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  showTheme();
}

function showTheme() {
  document.getElementById("theme").setAttribute("aria-pressed", isDark());
}

function offerThemes() {
  document.getElementById("theme").addEventListener("click", toggleTheme);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);
  showTheme();
}
