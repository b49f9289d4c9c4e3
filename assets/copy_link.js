// The address bar always reproduces the view, so copying it is all there is to do: with the name of the server by which
// others reach it, where the browser is on the same machine.

const SAID_MS = 4000;
const THIS_MACHINE = /^(localhost|127(\.\d+){3}|\[::1\])$/;

export default function ({ parentElement, data }) {
  const button = parentElement.querySelector(".copy-link");
  button.onclick = async () => {
    const address = new URL(location.href);
    const here = THIS_MACHINE.test(address.hostname);
    if (here && data.host) address.hostname = data.host;
    const copied = (await copy(address.href)) ? "Copied" : "Copy it from the address bar";
    const alone = here && !data.host;
    button.textContent = alone ? `${copied}; it opens on this machine only` : copied;
    button.title = alone ? data.why : "";
    setTimeout(() => { button.textContent = "Copy link"; }, SAID_MS);
  };
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without https browsers offer no clipboard; a selected text can still be copied.
    const area = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    return copied;
  }
}
