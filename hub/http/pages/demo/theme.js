// Applies the chosen theme before the first paint. A module would run too late.
{
  const theme = localStorage.getItem("hub.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
}
