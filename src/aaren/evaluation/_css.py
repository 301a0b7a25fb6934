"""The style of the demo's report: one column, light or dark as the reader has it, and small screens.

The colours are variables; the plots refer to them by name.
"""

from __future__ import annotations

CSS = """
:root{--paper:#fdfdfb;--raised:#f3f4f1;--ink:#1c2126;--quiet:#6b737c;--grid:#e3e5e2;--aaren:#0b7a75;--transformer:#c4501b;
--head-1:#0b7a75;--head-2:#2f66d0;--head-3:#8a3fd1;--head-4:#cf3572;--warn:#fff3d6}
@media (prefers-color-scheme:dark){:root{--paper:#14171a;--raised:#1e2327;--ink:#e6e8ea;--quiet:#98a1aa;--grid:#30363c;
--aaren:#3cc7bd;--transformer:#f08a4b;--head-1:#3cc7bd;--head-2:#7aa5ff;--head-3:#c08cff;--head-4:#ff7fae;--warn:#3a3013}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:1.0625rem/1.6 system-ui,-apple-system,"Segoe UI",Roboto,
"Noto Sans",sans-serif;-webkit-text-size-adjust:100%}
main{max-width:62rem;margin:0 auto;padding:clamp(1.5rem,5vw,4rem) clamp(1rem,4vw,2.5rem)}
h1{font-size:clamp(1.9rem,5vw,2.9rem);line-height:1.12;letter-spacing:-.02em;margin:0 0 1rem;text-wrap:balance}
h2{font-size:1.4rem;line-height:1.25;letter-spacing:-.01em;margin:0 0 .9rem}
p{max-width:44rem;margin:.8rem 0}
.lede{font-size:1.15rem}
section{margin-top:3.25rem;padding-top:1.6rem;border-top:1px solid var(--grid)}
a{color:var(--aaren);overflow-wrap:anywhere}
.tiles{list-style:none;margin:2rem 0 0;padding:0;display:grid;gap:1rem;
grid-template-columns:repeat(auto-fit,minmax(min(13rem,100%),1fr))}
.tiles li{background:var(--raised);border-radius:.6rem;padding:.9rem 1.1rem 1rem;font-size:.9rem;line-height:1.4;
color:var(--quiet)}
.tiles strong{display:block;font-size:1.55rem;line-height:1.3;color:var(--aaren);font-variant-numeric:tabular-nums}
.quick{background:var(--warn);border-radius:.6rem;padding:.8rem 1.1rem}
.verdict{font-weight:600}
.scroll{overflow-x:auto;margin:1.2rem 0}
table{border-collapse:collapse;width:100%;max-width:44rem;font-size:.95rem;font-variant-numeric:tabular-nums}
th,td{padding:.42rem .7rem;text-align:right;border-bottom:1px solid var(--grid);font-weight:400}
th:first-child{text-align:left;padding-left:0}
thead th{color:var(--quiet);font-size:.85rem;line-height:1.3;vertical-align:bottom}
.best th,.best td{font-weight:650;color:var(--aaren)}
.panels{display:grid;gap:1.5rem 2rem;grid-template-columns:repeat(auto-fit,minmax(min(24rem,100%),1fr));margin:1.2rem 0}
figure{margin:0;min-width:0}
figcaption{font-weight:600;font-size:.95rem;margin-bottom:.3rem}
svg{display:block;width:100%;height:auto}
svg text{font-family:inherit!important}
details{margin:1rem 0}
summary{cursor:pointer;color:var(--aaren)}
code{font:.9em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
pre{white-space:pre-wrap;background:var(--raised);border-radius:.5rem;padding:.75rem 1rem;margin:.35rem 0 1rem}
.commands{padding-left:1.3rem}
footer{margin-top:3.25rem;padding-top:1rem;border-top:1px solid var(--grid);font-size:.85rem;color:var(--quiet)}
@media (max-width:30rem){th,td{padding:.4rem .35rem}table{font-size:.85rem}thead th{font-size:.75rem}}
"""
