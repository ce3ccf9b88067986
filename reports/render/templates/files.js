// A page of one file has the records, tables and figures inside: a link to one saves it.
const packed = document.getElementById("files");
let files; // name -> text
if (packed) {
  const bytes = Uint8Array.from(atob(packed.textContent), (letter) => letter.charCodeAt(0));
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  files = new Response(unpacked).json();
  addEventListener("click", async (event) => {
    const name = event.target.closest("a[href]")?.getAttribute("href");
    if (!/^(records|tables|figures)\//.test(name ?? "")) return;
    event.preventDefault();
    const save = document.createElement("a");
    save.href = URL.createObjectURL(new Blob([(await files)[name]]));
    save.download = name.split("/").pop();
    save.click();
  });
}
