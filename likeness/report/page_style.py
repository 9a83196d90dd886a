"""The style sheet of a report's page: light, dark and paper."""

STYLE = """
:root{color-scheme:light dark;--paper:#fbfbfa;--card:#fff;--ink:#1d1f23;--faint:#676c75;--line:#e3e4e7;
--good:#26708c;--low:#b8692f;--none:#8d929b;--band:#1d1f23}
@media (prefers-color-scheme:dark){:root{--paper:#15171a;--card:#1d2024;--ink:#e8e9eb;--faint:#9aa0a9;--line:#30343a;
--good:#62b3d1;--low:#dd9560;--none:#7d838c;--band:#e8e9eb}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Noto Sans",sans-serif}
main{max-width:960px;margin:0 auto;padding:40px 24px 64px}
header p,.note,figcaption,.quiet{color:var(--faint)}
h1{font-size:27px;line-height:1.2;margin:0 0 4px;font-weight:650;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:18px;margin:44px 0 10px;font-weight:650}
h3{font-size:15px;margin:24px 0 8px;font-weight:650}
p{margin:0 0 10px;max-width:76ch;overflow-wrap:anywhere}
ul{margin:0;padding-left:20px;max-width:80ch}
li{margin:5px 0;overflow-wrap:anywhere}
.tiles{display:grid;grid-template-columns:1.5fr repeat(3,1fr);gap:12px;margin:24px 0 8px}
.tile{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px}
.tile b{display:block;font-size:27px;line-height:1.25;font-weight:650;font-variant-numeric:tabular-nums}
.tile span{color:var(--faint);font-size:13px}
.tile.first b{font-size:40px}
.stack{display:flex;height:10px;border-radius:5px;overflow:hidden;margin:14px 0 6px;gap:2px}
.stack i{display:block;min-width:2px}
.good{background:var(--good)}.bad{background:var(--low)}.none{background:var(--none)}
.key{font-size:13px;color:var(--faint)}
.key i{display:inline-block;width:10px;height:10px;border-radius:3px;margin:0 5px 0 14px}
.key i:first-child{margin-left:0}
svg{display:block;width:100%;height:auto;margin:6px 0 4px}
svg text{fill:var(--faint);font-size:12px;font-family:inherit}
svg .tick,svg .count{text-anchor:middle}svg .title,svg .name,svg .left{text-anchor:end}
svg .name{fill:var(--ink)}svg .mark{fill:var(--ink);font-weight:600}
.grid{stroke:var(--line)}.axis{stroke:var(--faint)}.edge{stroke:var(--line);stroke-dasharray:3 4}
.band{stroke:var(--band);stroke-width:1.5}
.bar{fill:var(--good)}.bar.low,.dot.low{fill:var(--low)}.dot{fill:var(--good);opacity:.55}
.whisker{stroke:var(--faint)}.box{fill:var(--good);fill-opacity:.16;stroke:var(--good)}
.median{stroke:var(--ink);stroke-width:2.5}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:14px}
th,td{text-align:right;padding:6px 10px;border-bottom:1px solid var(--line);white-space:nowrap}
th{color:var(--faint);font-weight:500;font-size:13px}
th:first-child,td:first-child,.text{text-align:left;white-space:normal;overflow-wrap:break-word;
min-width:184px;max-width:340px}
table.groups th,table.groups td{padding:6px 7px;white-space:normal}
table.groups th:first-child,table.groups td:first-child{min-width:120px}
.faces{display:grid;grid-template-columns:repeat(auto-fill,minmax(136px,1fr));gap:14px;margin-top:10px}
figure{margin:0;break-inside:avoid}
figure img,figure .gone{width:100%;aspect-ratio:1;object-fit:contain;background:var(--line);border-radius:8px;
display:block}
figcaption{font-size:12px;line-height:1.4;margin-top:5px;overflow-wrap:anywhere}
figcaption b{color:var(--ink);font-size:14px;font-variant-numeric:tabular-nums}
figcaption .low{color:var(--low)}figcaption .ok{color:var(--good)}
details{margin-top:10px}summary{cursor:pointer;color:var(--faint)}
footer{margin-top:48px;border-top:1px solid var(--line);padding-top:14px;color:var(--faint);font-size:13px}
@media (max-width:640px){.tiles{grid-template-columns:1fr 1fr}main{padding:24px 16px}}
@media print{:root{color-scheme:light;--paper:#fff;--card:#fff;--ink:#000;--faint:#444;--line:#ccc;--good:#26708c;
--low:#b8692f;--none:#888;--band:#000}main{max-width:none;padding:0}
.wide{overflow:visible}th,td{white-space:normal;padding:4px 6px}h2{break-after:avoid}svg,tr{break-inside:avoid}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
