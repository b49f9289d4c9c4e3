// What the back button means by a step. Streamlit makes one of every change that Python makes to the address, also of what
// it only completes once a page is open. Here a visit to a page is one step, and so is another k or another run on it;
// everything else is written into the step that is there.

{
  const push = history.pushState;

  // Whether both name it, and differently.
  const differs = (name, now, next) => {
    const [before, after] = [now, next].map((url) => url.searchParams.get(name));
    return before !== null && after !== null && before !== after;
  };

  History.prototype.pushState = function (state, title, url) {
    const now = new URL(location.href), next = new URL(url ?? "", now);
    const isStep = now.pathname !== next.pathname || ["run", "k"].some((name) => differs(name, now, next));
    (isStep ? push : this.replaceState).call(this, state, title, url);
  };
}
