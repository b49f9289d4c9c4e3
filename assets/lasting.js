// What a component makes of its part of the page lasts as long as that part, over all data that come for it.

const lasting = new WeakMap();

// Give the data to the component's object, which is created when the first come; by `tell` it speaks to Python.
function last({ data, parentElement }, create, tell) {
  let object = lasting.get(parentElement);
  if (!object) {
    object = create(parentElement);
    lasting.set(parentElement, object);
  }
  object.tell = tell;
  object.receive(data);
  return () => {
    // Streamlit calls this, too, where other data come before these were drawn. What is on the page goes on.
    if (parentElement.isConnected) return;
    lasting.delete(parentElement);
    object.close();
  };
}
