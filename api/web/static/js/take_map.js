// What there is of a take, and when, from its index alone. Times are seconds from the take's origin.

const within = (time, start, duration) => time >= start && time < start + duration;

export class TakeMap {
  constructor(take, tracks) {
    this.gaps = take.gaps;
    this.tracks = tracks;
  }

  of(camera) { return this.tracks.filter((track) => track.camera === camera); }

  // Where a camera has both its picture and its sound: a browser shows nothing before that.
  begin(camera) {
    return Math.max(0, ...this.of(camera).map((track) => track.segments[0].start / track.timescale));
  }

  gapsAt(time, early = 0) { return this.gaps.filter(({ start, duration }) => within(time, start - early, duration + early)); }

  // Whether a gap of the track is declared at a time.
  lacks({ id }, time) { return this.gapsAt(time).some(({ track }) => track === null || track === id); }

  // Whether an earlier picture is shown because what came then lacks packets, or rests on what does.
  stands({ unshown, timescale }, time) {
    return unshown.some(({ start, duration }) => within(time, start / timescale, duration / timescale));
  }

  // Whether there is something of the track, if only an earlier picture.
  holds(track, time) {
    const { segments, timescale } = track;
    return (!this.lacks(track, time) || this.stands(track, time))
      && segments.some(({ start, duration }) => within(time, start / timescale, duration / timescale));
  }

  has(camera, time) { return this.of(camera).every((track) => this.holds(track, time)); }

  // The least time from then on at which the camera has everything; undefined if there is none.
  next(camera, time) {
    const tracks = this.of(camera);
    const starts = tracks.flatMap(({ segments, timescale }) => segments.map(({ start }) => start / timescale));
    const stood = tracks.flatMap(({ unshown, timescale }) => unshown.map(({ start, duration }) => (start + duration) / timescale));
    const ends = this.gaps.map(({ start, duration }) => start + duration);
    return [time, ...[...starts, ...stood, ...ends].map((each) => each + 0.01)]
      .filter((each) => each >= time)
      .sort((one, other) => one - other)
      .find((each) => this.has(camera, each));
  }

  // When the camera's first key frame after a time is shown, or a moment later; undefined if there is none.
  keyAfter(camera, time) {
    const picture = this.of(camera).find(({ kind }) => kind === "video");
    return picture?.segments.flatMap(({ key_frames: keys }) => keys.map((key) => key / picture.timescale + 0.001))
      .find((key) => key > time);
  }
}
