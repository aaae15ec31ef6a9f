// What dragging on the picture does besides moving the cross: the brush, and window and level.

import { element } from "./page.js";

const WIDTH_OF_RANGE_PX = 400;

/**
 * Draw where the pointer goes.
 * @param {HTMLCanvasElement} canvas
 * @param {object} brush
 * @param {import("./view.js").View} brush.view
 * @param {() => boolean} brush.isOn - whether the pointer is a brush now
 * @param {() => number} brush.radius - mm
 * @param {() => boolean} brush.begin - whether a stroke may begin
 * @param {(from: {point: number[], index: number}, to: number[]) => void} brush.draw
 * @param {() => void} brush.end
 */
export function listenToBrush(canvas, { view, isOn, radius, begin, draw, end }) {
  let last = null;
  const show = (found) => {
    const radii = view.spacing.map((size) => radius() / size);
    view.lines.brush = found && { ...found, radii };
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
    if (last && found?.index === last.index) {
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
    canvas.parentElement.addEventListener(type, (event) => isOn() && !event.button && event.stopPropagation(), { capture: true });
  }
}

/** Dragging with the right button: to the side wider or narrower, up and down darker or brighter. */
export function listenToWindow(canvas, view, isOn) {
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
  element("window").addEventListener("change", ({ target }) => {
    view.setWindow(view.windows[target.value]);
    showWindow(view, target.value);
  });
  for (const id of ["window-width", "window-level"]) {
    element(id).addEventListener("change", () => {
      const [width, level] = ["window-width", "window-level"].map((one) => element(one).valueAsNumber);
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
  for (const [id, value] of [["window-width", high - low], ["window-level", (high + low) / 2]]) {
    element(id).value = value.toFixed(digits);
    element(id).disabled = false;
  }
}

function set(view, width, level) {
  view.setWindow({ low: level - width / 2, high: level + width / 2 });
  showWindow(view, "own");
}
