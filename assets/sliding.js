// How a pointer holds a slider. A finger that goes across it scrolls the page; only one that goes along it, or taps it,
// moves it. Browsers move a slider as soon as it is touched, so what they say is held back until the finger has decided.

const TOUCH_SLOP_PX = 10;

// Where `slider.held` is true, a pointer is on the slider.
function guard(slider) {
  let touch = null;
  // First of all listeners, so that the others hear of none of it.
  const hold = (event) => { if (touch && !touch.along) event.stopImmediatePropagation(); };
  const tell = (value) => {
    slider.value = value;
    slider.dispatchEvent(new Event("input"));
  };
  slider.addEventListener("pointerdown", ({ pointerType, clientX, clientY }) => {
    slider.held = true;
    touch = pointerType === "touch" ? { x: clientX, y: clientY, before: slider.value, at: slider.value, along: false } : null;
  });
  slider.addEventListener("pointermove", ({ clientX, clientY }) => {
    if (!touch) return;
    const across = Math.abs(clientY - touch.y), along = Math.abs(clientX - touch.x);
    touch.along ||= along > TOUCH_SLOP_PX && along > across;
  });
  slider.addEventListener("input", (event) => {
    if (!touch || touch.along) return;
    touch.at = slider.value;
    slider.value = touch.before;
    hold(event);
  }, { capture: true });
  slider.addEventListener("change", hold, { capture: true });
  slider.addEventListener("pointerup", () => {
    if (touch && !touch.along) {
      touch.along = true;
      tell(touch.at);
    }
    slider.held = false;
  });
  // The browser has taken the finger to scroll.
  slider.addEventListener("pointercancel", () => {
    if (touch?.along) tell(touch.before);
    if (touch) touch.along = false;
    slider.held = false;
  });
  // The last that the browser itself says of a touch comes after its end.
  const end = () => setTimeout(() => { touch = null; });
  slider.addEventListener("touchend", end);
  slider.addEventListener("touchcancel", end);
}
