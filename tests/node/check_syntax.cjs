// Says whether files parse, in the eyes of Node and of the TypeScript compiler: lines of `LANGUAGE<tab>PATH` in, one `1` or `0` a line out.
// Wants `--experimental-vm-modules`.
const fs = require('node:fs');
const vm = require('node:vm');
const ts = require('typescript');

function compiles(make) {
  try {
    make();
    return true;
  } catch (error) {
    if (error instanceof SyntaxError || error?.name === 'SyntaxError') return false;
    throw error;
  }
}

// What a file is, its name does not always say, so it may be a script, the body of a CommonJS module, or a module.
function isJavaScript(text) {
  const bare = text.replace(/^#!.*/, '');
  return (
    compiles(() => new vm.Script(bare)) ||
    compiles(() => vm.compileFunction(bare, ['exports', 'require', 'module', '__filename', '__dirname'])) ||
    compiles(() => new vm.SourceTextModule(bare))
  );
}

function isTypeScript(path, text) {
  const name = path.endsWith('.d.ts') || path.endsWith('.d.mts') || path.endsWith('.d.cts') ? 'a.d.ts' : 'a.ts';
  const file = ts.createSourceFile(name, text, ts.ScriptTarget.Latest, false, ts.ScriptKind.TS);
  return file.parseDiagnostics.length === 0;
}

const lines = fs.readFileSync(0, 'utf8').split('\n').filter(Boolean);
for (const line of lines) {
  const [language, path] = line.split('\t');
  const text = fs.readFileSync(path, 'utf8');
  console.log(Number(language === 'typescript' ? isTypeScript(path, text) : isJavaScript(text)));
}
