// What dragging on the picture does besides moving the cross: the brush, and window and level.

import { element } from "./page.js";

const WIDTH_OF_RANGE_PX = 400;

/**
 * Draw where the pointer goes.
 * @param {HTMLCanvasElement} canvas
 * @param {object} brush
 * @param {import("./view.js").View} brush.view
 * @param {() => boolean} brush.isOn - whether the pointer is a brush now
 * @param {() => number} brush.radius - mm, 0 if it has none
 * @param {() => boolean} brush.begin - whether a stroke may begin
 * @param {(from: {point: number[], index: number}, to: number[]) => void} brush.draw
 * @param {() => void} brush.end
 */
export function listenToBrush(canvas, { view, isOn, radius, begin, draw, end }) {
  /** @type {{point: number[], index: number} | null} */
  let last = null;
  const show = (found) => {
    const radii = view.spacing.map((size) => radius() / size);
    view.lines.brush = found && radius() ? { ...found, radii } : null;
    view.drawLines();
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (!isOn() || event.button !== 0) return;
    const found = view.pointUnder(event);
    if (!found || !begin()) return;
    last = found;
    canvas.setPointerCapture(event.pointerId);
    draw(found, found.point);
    show(found);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!isOn()) return;
    const found = view.pointUnder(event);
    // A stroke stays on the slice that it began on.
    if (last && found && found.index === last.index) {
      draw(last, found.point);
      last = found;
    }
    show(found);
  });
  const stop = () => {
    if (!last) return;
    view.goTo(last.index);
    last = null;
    end();
  };
  canvas.addEventListener("pointerup", stop);
  canvas.addEventListener("pointercancel", stop);
  canvas.addEventListener("pointerleave", () => isOn() && !last && show(null));
  // NiiVue would move the cross; it listens on the canvas itself.
  for (const type of ["mousedown", "touchstart"]) {
    canvas.parentElement?.addEventListener(type, (event) => {
      if (isOn() && !(event instanceof MouseEvent && event.button)) event.stopPropagation();
    }, { capture: true });
  }
}

/** Dragging with the right button: to the side wider or narrower, up and down darker or brighter. */
export function listenToWindow(canvas, view, isOn) {
  /** @type {{x: number, y: number, width: number, level: number} | null} */
  let began = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 2 || !isOn()) return;
    const { low, high } = view.window;
    began = { x: event.clientX, y: event.clientY, width: high - low, level: (high + low) / 2 };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!began) return;
    const { low, high } = view.windows.usual;
    const step = (high - low) / WIDTH_OF_RANGE_PX;
    const width = Math.max(step, began.width + step * (event.clientX - began.x));
    set(view, width, began.level + step * (event.clientY - began.y));
  });
  for (const type of ["pointerup", "pointercancel"]) canvas.addEventListener(type, () => (began = null));
}

/** Let the reader choose a window, or type its values. */
export function prepareWindow(view) {
  element("window").addEventListener("change", () => {
    const name = element("window").value;
    view.setWindow(view.windows[name]);
    showWindow(view, name);
  });
  for (const field of [element("window-width"), element("window-level")]) {
    field.addEventListener("change", () => {
      const [width, level] = [element("window-width"), element("window-level")].map((one) => one.valueAsNumber);
      if (width > 0 && Number.isFinite(level)) set(view, width, level);
      else showWindow(view, element("window").value);
    });
  }
}

/** Show the values of the window. */
export function showWindow(view, name = "usual") {
  const { low, high } = view.window;
  const digits = high - low < 10 ? 3 : 0;
  element("window").value = name;
  element("window-width").value = (high - low).toFixed(digits);
  element("window-level").value = ((high + low) / 2).toFixed(digits);
  for (const field of [element("window-width"), element("window-level")]) field.disabled = false;
}

function set(view, width, level) {
  view.setWindow({ low: level - width / 2, high: level + width / 2 });
  showWindow(view, "own");
}
