// A button at each command copies it.
for (const command of document.querySelectorAll("pre.command")) {
  const button = document.createElement("button");
  button.className = "copy";
  button.textContent = "Copy";
  button.ariaLabel = "Copy the command";
  const line = command.textContent;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(line);
    button.textContent = "Copied";
  });
  command.append(button);
}
