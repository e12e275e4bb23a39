// The reader's choice of light or dark, before the first paint; a module would come too late.
{
  const chosen = localStorage.getItem("hub.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
}
