// What is left of a histogram: pruning takes the smallest, so a bin with `below` counts under it loses what the pruned
// ones reach into it. The same as `Distribution.surviving` in core/analysis/distributions.py, which a test holds it to.
function survivors(counts, pruned) {
  let below = 0;
  return counts.map((bin) => {
    const left = Math.max(0, bin - Math.max(0, pruned - below));
    below += bin;
    return left;
  });
}
