// The address bar always reproduces the view, so copying it is all there is to do.

const SAID_MS = 2000;

export default function ({ parentElement }) {
  const button = parentElement.querySelector(".copy-link");
  button.onclick = async () => {
    button.textContent = (await copy(location.href)) ? "Copied" : "Copy it from the address bar";
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
