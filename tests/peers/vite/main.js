import { words } from "./words.js";
import "./style.css";

const show = (words) => (document.getElementById("words").textContent = words);
show(words);
import.meta.hot.accept("./words.js", (changed) => show(changed.words));
