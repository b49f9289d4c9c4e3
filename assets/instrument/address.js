// k in the address bar. A whole drag is one step of the back button: its first change adds a step, and what follows
// until the release replaces it. Python then writes the same address, which the browser takes as no change at all. Where
// the slider has moved on by then, Streamlit would add a step for what is no longer so; that is left out.

const addStep = History.prototype.pushState;

class Address {
  constructor(onReturn) {
    this.inDrag = false;
    this.written = new Set();
    const { pathname } = location;
    this.returned = () => {
      // Of a page that is being left Python must not hear: it would run a part of that page in place of the other.
      if (location.pathname !== pathname) return;
      const k = new URLSearchParams(location.search).get("k");
      onReturn(k);
    };
    window.addEventListener("popstate", this.returned);
    this.add = (state, title, url) => {
      if (!this.isLate(new URL(url, location.href))) addStep.call(history, state, title, url);
    };
    history.pushState = this.add;
  }

  // Whether an address differs from the present one in nothing but a k that was written here.
  isLate({ pathname, searchParams }) {
    const written = this.written.has(searchParams.get("k")), now = new URLSearchParams(location.search);
    searchParams.delete("k");
    now.delete("k");
    return written && pathname === location.pathname && searchParams.toString() === now.toString();
  }

  write(key, released) {
    this.written.add(key);
    const k = `k=${encodeURIComponent(key)}`;
    const now = location.search;
    const next = /[?&]k=/.test(now) ? now.replace(/([?&])k=[^&]*/, `$1${k}`) : now ? `${now}&${k}` : `?${k}`;
    if (next !== now) {
      if (this.inDrag) history.replaceState({}, "", location.pathname + next);
      else addStep.call(history, {}, "", location.pathname + next);
      this.inDrag = true;
    }
    if (released) this.inDrag = false;
  }

  close() {
    window.removeEventListener("popstate", this.returned);
    if (history.pushState === this.add) delete history.pushState;
  }
}
