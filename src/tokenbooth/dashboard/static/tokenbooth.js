// Comfort only: every page works without it.
"use strict";

// Buttons that copy the text of an element.
function reveal(root) {
  for (const button of root.querySelectorAll("[data-copy][hidden]")) {
    button.hidden = false;
  }
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const text = document.getElementById(button.dataset.copy).textContent.trim();
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    // Without leave to use the clipboard the text is at least selected.
    getSelection().selectAllChildren(document.getElementById(button.dataset.copy));
    button.textContent = "Press Ctrl+C";
  }
  setTimeout(() => { button.textContent = label; }, 2000);
});

// A live part that nobody sees asks for nothing, and one that changes keeps what its reader opened or focused.
let open = [];
let focused = null;

document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden) event.preventDefault();
});

document.addEventListener("htmx:beforeSwap", (event) => {
  const part = event.detail.target;
  open = [...part.querySelectorAll("details[open][id]")].map((one) => one.id);
  const active = document.activeElement;
  focused = part.contains(active) ? [...part.querySelectorAll("a, summary, [tabindex]")].indexOf(active) : null;
});

document.addEventListener("htmx:afterSwap", (event) => {
  const part = document.getElementById(event.detail.target.id) ?? document;
  reveal(part);
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  if (focused !== null) part.querySelectorAll("a, summary, [tabindex]")[focused]?.focus({ preventScroll: true });
});

reveal(document);
