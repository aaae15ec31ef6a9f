// The other phase of the study beside the one that is open, at the same place.

import { Nifti, unpacked } from "./nifti.js";
import { element } from "./page.js";
import { View } from "./view.js";

export class Beside {
  /**
   * @param {import("./heart.js").Heart} heart
   * @param {() => void} onMove - called when the cross was moved there
   */
  constructor(heart, onMove) {
    this.heart = heart;
    this.isOn = this.isReady = false;
    this.source = null;
    this.view = new View(element("beside-canvas"), element("beside-lines"), () => {
      if (!this.isReady) return;
      heart.view.follow(this.view);
      onMove();
    });
  }

  /** Show the other phase, or nothing where there is none. */
  async show(source) {
    const wasOn = this.isOn;
    this.isOn = Boolean(source);
    this.isReady = false; // its own first place is not to be followed
    element("beside").hidden = element("here").hidden = !source;
    if (!source) return;
    if (!this.isStarted) await this.view.start();
    this.isStarted = true;
    if (this.source?.id !== source.id || !wasOn) {
      const [buffer, saved] = await Promise.all([source.load(), source.savedLabel()]);
      this.saved = saved && new Nifti(await unpacked(saved.file)).labels();
      this.source = source;
      await this.view.open(buffer);
    }
    this.view.setView(this.heart.view.name);
    this.view.follow(this.heart.view);
    this.isReady = true;
    await this.draw();
  }

  /** The contours there, as they are now. */
  async draw() {
    if (!this.isReady) return;
    const mask = this.heart.edits.works.get(this.source.key)?.now.mask ?? this.saved;
    this.view.lines.fill = this.heart.view.lines.fill;
    element("there").textContent = this.source.moment + (mask ? "" : ", no contours yet");
    await this.view.show({ mask });
  }

  /** Go where the cross of the open image is. */
  follow() {
    if (this.isReady) this.view.follow(this.heart.view);
  }
}
