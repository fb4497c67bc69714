document.documentElement.classList.add("js");
const choice=document.querySelectorAll(".choice button"),panes=document.querySelectorAll("[data-pane]");
choice.forEach(b=>b.addEventListener("click",()=>{choice.forEach(o=>o.setAttribute("aria-pressed",o===b));
panes.forEach(p=>p.classList.toggle("off",p.dataset.pane!==b.dataset.scenario))}));
document.querySelectorAll("thead button").forEach(b=>b.addEventListener("click",()=>{
const th=b.parentElement,table=th.closest("table"),body=table.tBodies[0],at=th.cellIndex;
const down=th.getAttribute("aria-sort")!=="descending";
table.querySelectorAll("th").forEach(o=>o.removeAttribute("aria-sort"));
th.setAttribute("aria-sort",down?"descending":"ascending");
const rows=[...body.rows],value=r=>{const c=r.cells[at];return at===0?r.cells[0].textContent:
(c&&c.dataset.v)?parseFloat(c.dataset.v):NaN};
const last=r=>r.classList.contains("none")||(at>0&&Number.isNaN(value(r)));
rows.sort((x,y)=>{if(last(x)!==last(y))return last(x)?1:-1;if(last(x))return 0;
const a=value(x),b=value(y),o=at===0?a.localeCompare(b):a-b;return down?-o:o});rows.forEach(r=>body.append(r))}));
