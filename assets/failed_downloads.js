// Streamlit makes a file when its button is pressed, and says only that this failed. This tells the server that one did,
// and the page then says why.

const FAILED = "[data-testid=stDownloadButtonError]";

export default function ({ setTriggerValue }) {
  const holds = (node) => node.nodeType === Node.ELEMENT_NODE && (node.matches(FAILED) || node.querySelector(FAILED));
  const observer = new MutationObserver((changes) => {
    if (changes.some(({ addedNodes }) => [...addedNodes].some(holds))) setTriggerValue("failed", true);
  });
  observer.observe(document.body, { childList: true, subtree: true });
  return () => observer.disconnect();
}
