// Starts Redoc, dark where the system is.
"use strict";
(() => {
  const page = document.getElementById("redoc");

  // Redoc asks its maker's server for a logo and has no option against it: it gets ours. React
  // writes the attribute first, and the property once the image is in the page.
  const instead = (address) => (address.startsWith("https://cdn.redoc.ly/") ? page.dataset.logo : address);
  const image = HTMLImageElement.prototype;
  image.setAttribute = function (name, value) {
    Element.prototype.setAttribute.call(this, name, instead(value));
  };
  const source = Object.getOwnPropertyDescriptor(image, "src");
  const set = function (value) { source.set.call(this, instead(value)); };
  Object.defineProperty(image, "src", { ...source, set });

  const [ground, raised, line, text] = ["#1c2022", "#15191b", "rgb(255 255 255 / 15%)", "#d1d5db"];
  const dark = {
    colors: {
      primary: { main: "#a78bfa" },
      success: { main: "#4ade80" },
      error: { main: "#f87171" },
      text: { primary: text, secondary: "#9ca3af" },
      border: { dark: line, light: ground },
      responses: Object.fromEntries(["success", "error", "redirect", "info"].map((kind) => [kind, { backgroundColor: raised }])),
    },
    schema: { linesColor: "#4c4577", nestedBackground: raised },
    typography: { code: { color: "#fca5a5", backgroundColor: "rgb(255 255 255 / 8%)" } },
    sidebar: { backgroundColor: raised, textColor: text, groupItems: { activeBackgroundColor: ground }, level1Items: { activeBackgroundColor: ground } },
    rightPanel: { backgroundColor: "#0f1214" },
  };
  const theme = matchMedia("(prefers-color-scheme: dark)").matches ? dark : {};
  Redoc.init(page.dataset.schema, { theme }, page);
})();
