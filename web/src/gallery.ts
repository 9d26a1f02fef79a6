// The gallery: its clips with their authors; all are fetched once the page has shown its first result.

import { byId, make } from "./dom";
import type { Clip } from "./model";
import type { Sound } from "./player";

const MOST = 64 * 1024 * 1024; // bytes kept, so that the page works without the network; the rest is fetched when asked

export class Gallery {
  private readonly kept = new Map<number, Blob>();

  constructor(private readonly clips: Clip[], private readonly base: string, chooseClip: (clip: number) => void) {
    const card = byId("gallery");
    card.hidden = !clips.length;
    byId("gallery-title").textContent = `The gallery: ${clips.length} clips`;
    const groups = new Map<string, number[]>();
    clips.forEach((clip, i) => groups.set(clip.group, [...(groups.get(clip.group) ?? []), i]));
    for (const [group, members] of groups) {
      const list = make("ul");
      for (const clip of members) {
        const button = make("button", { type: "button", class: "sample" }, clips[clip].name);
        button.addEventListener("click", () => chooseClip(clip));
        const item = make("li");
        item.append(button);
        list.append(item);
      }
      if (group) byId("groups").append(make("h3", {}, group));
      byId("groups").append(list);
    }
    byId("groups").append(credits(clips));
  }

  /** The bytes of a clip's file. */
  async bytes(clip: number): Promise<ArrayBuffer> {
    const kept = this.kept.get(clip) ?? (await this.fetched(clip));
    return kept.arrayBuffer();
  }

  /** What a player takes. */
  sound(clip: number): Sound {
    return this.kept.get(clip) ?? new URL(this.clips[clip].file, this.base).href;
  }

  /** Fetch all sounds, one after another, while nothing else happens. */
  async keepAll(): Promise<void> {
    let bytes = 0;
    for (let clip = 0; clip < this.clips.length && bytes < MOST; clip++) {
      if (this.kept.has(clip)) continue;
      const blob = await this.fetched(clip).catch(() => null);
      if (!blob) continue; // it is requested again when it is played, and the error is shown then
      bytes += blob.size;
      this.kept.set(clip, blob);
    }
  }

  private async fetched(clip: number): Promise<Blob> {
    const response = await fetch(new URL(this.clips[clip].file, this.base));
    if (!response.ok) throw new Error(`model/${this.clips[clip].file} is missing (${response.status})`);
    return response.blob();
  }
}

function credits(clips: Clip[]): HTMLElement {
  const details = make("details", { class: "credits" });
  details.append(make("summary", {}, "Authors and licences of these clips"));
  const list = make("p");
  const licences = [...new Set(clips.map((clip) => clip.licence))];
  list.textContent = licences
    .map((licence) => {
      const of = clips.filter((clip) => clip.licence === licence);
      return `${licence || "No licence stated"}: ${of.map((clip) => (clip.author ? `${clip.name} (${clip.author})` : clip.name)).join(", ")}.`;
    })
    .join(" ");
  details.append(list);
  return details;
}
