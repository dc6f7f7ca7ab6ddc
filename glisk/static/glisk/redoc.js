// Redoc asks its maker's server for a logo and has no option against it: it gets ours.
"use strict";
(() => {
  const THEIRS = "https://cdn.redoc.ly/redoc/logo-mini.svg";
  const ours = document.currentScript.dataset.logo;
  const instead = (address) => (address === THEIRS ? ours : address);
  const image = HTMLImageElement.prototype;
  // React writes the attribute first, and the property once the image is in the page.
  image.setAttribute = function (name, value) {
    Element.prototype.setAttribute.call(this, name, instead(value));
  };
  const source = Object.getOwnPropertyDescriptor(image, "src");
  const set = function (value) { source.set.call(this, instead(value)); };
  Object.defineProperty(image, "src", { ...source, set });
})();
