// k in the address bar. A whole drag is one step of the back button: its first change adds a step, and what follows
// until the release replaces it. Python then writes the same address, which the browser takes as no change at all.

class Address {
  constructor(onReturn) {
    this.inDrag = false;
    this.returned = () => {
      const k = new URLSearchParams(location.search).get("k");
      onReturn(k);
    };
    window.addEventListener("popstate", this.returned);
  }

  write(key, released) {
    const k = `k=${encodeURIComponent(key)}`;
    const now = location.search;
    const next = /[?&]k=/.test(now) ? now.replace(/([?&])k=[^&]*/, `$1${k}`) : now ? `${now}&${k}` : `?${k}`;
    if (next !== now) {
      if (this.inDrag) history.replaceState({}, "", location.pathname + next);
      else history.pushState({}, "", location.pathname + next);
      this.inDrag = true;
    }
    if (released) this.inDrag = false;
  }

  close() {
    window.removeEventListener("popstate", this.returned);
  }
}
