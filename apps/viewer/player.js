// Plays a cine, frame by frame, until it is stopped.

const SLOWEST_S = 0.5;
const USUAL_S = 0.05;

export class Player {
  /** @param {(index: number) => Promise<void>} turnTo */
  constructor(turnTo) {
    this.turnTo = turnTo;
    this.isPlaying = false;
  }

  /** Play from a frame on, in the time that the file tells. */
  async play(first, frames, frameSeconds) {
    const wait = 1000 * Math.min(frameSeconds || USUAL_S, SLOWEST_S);
    this.isPlaying = true;
    for (let index = first; this.isPlaying; index = (index + 1) % frames) {
      const began = performance.now();
      await this.turnTo(index);
      await new Promise((done) => setTimeout(done, Math.max(0, wait - (performance.now() - began))));
    }
  }

  stop() {
    this.isPlaying = false;
  }
}
