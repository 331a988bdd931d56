"""How the status page looks: two palettes with enough contrast, one column, and no more than a phone can show."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--text:#1a1f26;--soft:#545d6a;--edge:#dde1e7;
--good:#12653a;--good-card:#e9f6ee;--bad:#a31621;--bad-card:#fdeeee;--bar:#2f6fbf;--today:#6f9fd6;--late:#78808c}
@media(prefers-color-scheme:dark){:root{--page:#0f1318;--card:#181d24;--text:#e7ebf0;--soft:#a5afbc;--edge:#2b333d;
--good:#7ddba0;--good-card:#12291c;--bad:#ff9c9c;--bad-card:#331719;--bar:#6aa5ec;--today:#3f6ea8;--late:#8b95a3}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;
overflow-wrap:anywhere}
header,main,footer{max-width:56rem;margin:0 auto;padding:0 1rem}
header{display:flex;justify-content:space-between;align-items:baseline;gap:1rem;padding-top:1rem}
.brand{font-weight:650;letter-spacing:.01em;margin:0}
.soft,small,.at{color:var(--soft);font-size:.875rem}
.at{margin:0;text-align:right}
h1{font-size:1.5rem;line-height:1.25;margin:0}
h2{font-size:1.05rem;margin:0 0 .6rem}
h3{font-size:1rem;margin:0 0 .3rem}
p{margin:.25rem 0}
section{background:var(--card);border:1px solid var(--edge);border-radius:.75rem;padding:1rem 1.1rem;margin:1rem 0}
.verdict{border:0;padding:1.2rem 1.1rem}
.verdict.good{background:var(--good-card)}.verdict.good h1{color:var(--good)}
.verdict.bad{background:var(--bad-card)}.verdict.bad h1{color:var(--bad)}
.reason{background:var(--card);border:1px solid var(--edge);border-left:.3rem solid var(--bad);
border-radius:.5rem;padding:.8rem .9rem;margin-top:.9rem}
.where{font-weight:600}
.do{margin-top:.5rem}
.do b{color:var(--good)}
ul{margin:0;padding:0;list-style:none}
.reason li+li{margin-top:.5rem}
code{font:.8125rem ui-monospace,Consolas,monospace;color:var(--soft)}
table{border-collapse:collapse;width:100%;table-layout:fixed}
th,td{text-align:left;vertical-align:top;
padding:.5rem .8rem .5rem 0;border-top:1px solid var(--edge);font-weight:400}
thead th{border:0;padding-top:0;color:var(--soft);font-size:.8125rem}
th:last-child,td:last-child{padding-right:0;text-align:right}
tbody th b{font-weight:600}
tr small{display:block}
.n{text-align:right;font-variant-numeric:tabular-nums}
th.n{width:7rem}th.pic{width:10rem}
.is-bad,small.is-bad{color:var(--bad);font-weight:600}
.bars{display:block;width:8.75rem;max-width:100%;height:1.75rem;fill:var(--bar)}
.bars .today{fill:var(--today)}
.wide .bars{width:100%;height:3.5rem}
.volumes{display:grid;grid-template-columns:repeat(auto-fit,minmax(14rem,1fr));gap:1.25rem}
.big{font-size:1.5rem;font-weight:650;line-height:1.2;font-variant-numeric:tabular-nums}
.lanes{display:grid;grid-template-columns:minmax(6rem,11rem) 1fr;gap:.4rem .8rem;align-items:center}
.lane{display:block;width:100%;height:1rem;background:var(--page);border-radius:.2rem}
.lane .loss{fill:var(--bad)}.lane .late{fill:var(--late)}.lane .tick{fill:var(--edge)}
.scale{display:flex;justify-content:space-between}
.gaps{margin-top:.8rem}
.gaps li{border-top:1px solid var(--edge);padding:.5rem 0}
details{margin-top:1rem}
summary{cursor:pointer;color:var(--soft);font-size:.875rem}
footer{padding-bottom:2rem}
@media(max-width:30rem){h1{font-size:1.3rem}section{padding:.9rem}th.pic{width:5.75rem}th.n{width:4.5rem}.bars{width:5rem}
th,td{padding-right:.6rem}.lanes{grid-template-columns:1fr;gap:.2rem}.scale.under{grid-column:1}}
"""
