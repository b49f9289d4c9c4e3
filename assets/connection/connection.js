// Streamlit connects again by itself when its server was away, but asks it for nothing then; and a server that was
// started again knows nothing of this page. So the page is run again, with all that was put into it meanwhile.

export default function (component) {
  return last(component, (parent) => new Connection(parent.querySelector(".connection")), () => component.setTriggerValue("back", true));
}

class Connection {
  constructor(notice) {
    const app = document.querySelector("[data-testid=stApp]");
    this.observer = new MutationObserver(() => {
      const away = app.dataset.testConnectionState !== "CONNECTED";
      if (away === Boolean(window.pruningAway)) return;
      window.pruningAway = away;
      notice.textContent = away ? "Disconnected from the server. This page goes on by itself once it is back." : "";
      // The slider hears of it, too.
      document.dispatchEvent(new CustomEvent("pruning:connection"));
      if (!away) this.tell();
    });
    this.observer.observe(app, { attributes: true, attributeFilter: ["data-test-connection-state"] });
  }

  receive() {}

  close() {
    this.observer.disconnect();
  }
}
