import ast,sys,io,tokenize
from pathlib import Path
t=ti=0
for p in sorted(Path("examples/amqtt").rglob("*.py")):
    s=p.read_text(); lines=set()
    for k in tokenize.generate_tokens(io.StringIO(s).readline):
        if k.type not in (tokenize.COMMENT,tokenize.NL,tokenize.NEWLINE,tokenize.INDENT,tokenize.DEDENT,tokenize.ENDMARKER):
            lines.update(range(k.start[0],k.end[0]+1))
    imp=set()
    for n in ast.walk(ast.parse(s)):
        if isinstance(n,ast.Expr) and isinstance(n.value,ast.Constant) and isinstance(n.value.value,str):
            lines-=set(range(n.lineno,n.end_lineno+1))
        if isinstance(n,(ast.Import,ast.ImportFrom)): imp|=set(range(n.lineno,n.end_lineno+1))
    print(p,len(lines), len(lines-imp)); t+=len(lines); ti+=len(lines-imp)
print(t,ti)
