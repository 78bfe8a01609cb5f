// ---- the live decoder of variational models: built when it comes into sight
const players = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) if (isIntersecting) {
    players.unobserve(target);
    const run = Number(target.dataset.run);
    target.player = livePlayer(target, data.runs[run].decoder, data.runs[run].codes ? (code) => link(run, code) : null);
  }
}, { rootMargin: "400px" });
document.querySelectorAll(".live").forEach((place) => players.observe(place));
