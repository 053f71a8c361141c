import { basename, join } from 'node:path';
import ts from 'typescript';
import { ROOT } from '../program.js';
import type { Block } from './pages.js';

/** Where snippets are taken to lie: packages are found from here as an application finds them. */
const FOLDER = join(ROOT, 'test/fixtures/snippets');

/** As strict as a user may be, and with all that a page, a worker or Node has. */
const { fileNames: PRELUDES, options: OPTIONS } = ts.parseJsonConfigFileContent(
  ts.readConfigFile(join(FOLDER, 'tsconfig.json'), (path) => ts.sys.readFile(path)).config,
  ts.sys,
  FOLDER,
);

/** Parameters without types, which JavaScript cannot give them. */
const UNTYPED = [7006, 7019, 7031];
/** Codes below are about syntax. */
const FIRST_OF_TYPES = 2000;

export interface Snippet extends Block {
  /** The file whose exports stand for what the page speaks of before; of {@link PRELUDES}. */
  prelude?: string | undefined;
  /** Its libraries are not installed here: what they have is not known. */
  isForeign?: boolean;
}

/**
 * What the compiler says of the snippets, each a module of its own, in one program.
 * @returns `page:line: message`, and of preludes what no snippet of theirs needs.
 */
export function typeErrors(snippets: Snippet[]): string[] {
  const preludes = new Map(
    PRELUDES.map((path) => [basename(path), namesIn(exportsOf(parse(path)))]),
  );
  const needed = new Set<string>();
  const files = new Map<string, { snippet: Snippet; text: string }>();
  for (const [index, snippet] of snippets.entries()) {
    const path = join(FOLDER, `snippet-${String(index)}.${snippet.language}`);
    const { prelude = '', text, isForeign = false } = snippet;
    const known = namesIn(parse(path, text).statements);
    const names = (isForeign ? [] : (preludes.get(prelude) ?? [])).filter(
      (name) => !known.includes(name) && new RegExp(`\\b${name}\\b`).test(text),
    );
    for (const name of names) needed.add(`${prelude}: ${name}`);
    files.set(path, { snippet, text: withImport(names, snippet) });
  }
  const superfluous = [...preludes]
    .flatMap(([prelude, names]) => names.map((name) => `${prelude}: ${name}`))
    .filter((name) => !needed.has(name));
  return [...compile(files), ...superfluous.map((name) => `${name} is not needed.`)];
}

/** On the first line of the snippet, so that lines keep their numbers. */
function withImport(names: string[], { prelude, text }: Snippet): string {
  if (prelude === undefined || names.length === 0) return text;
  return `import { ${names.join(', ')} } from './${basename(prelude, '.ts')}.js'; ${text}`;
}

function parse(path: string, text = ts.sys.readFile(path) ?? ''): ts.SourceFile {
  return ts.createSourceFile(path, text, ts.ScriptTarget.ES2022);
}

const exportsOf = ({ statements }: ts.SourceFile): ts.Statement[] =>
  statements.filter(
    (statement) =>
      ts.isExportDeclaration(statement) ||
      (ts.canHaveModifiers(statement) &&
        ts.getModifiers(statement)?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword)),
  );

/** What is declared or imported: a snippet's own names come before those of a prelude. */
function namesIn(statements: readonly ts.Statement[]): string[] {
  return statements.flatMap((statement) => {
    if (ts.isVariableStatement(statement)) {
      return statement.declarationList.declarations.flatMap(({ name }) => namesOf(name));
    }
    if (ts.isImportDeclaration(statement)) {
      const { name, namedBindings } = statement.importClause ?? {};
      const named =
        namedBindings !== undefined && ts.isNamedImports(namedBindings)
          ? namedBindings.elements.map((element) => element.name.text)
          : [];
      return name === undefined ? named : [name.text, ...named];
    }
    if (ts.isExportDeclaration(statement) && statement.exportClause !== undefined) {
      const { exportClause } = statement;
      return ts.isNamedExports(exportClause)
        ? exportClause.elements.map(({ name }) => name.text)
        : [];
    }
    const { name } = statement as { name?: ts.Node };
    return name !== undefined && ts.isIdentifier(name) ? [name.text] : [];
  });
}

function namesOf(name: ts.BindingName): string[] {
  if (ts.isIdentifier(name)) return [name.text];
  return name.elements.flatMap((element) =>
    ts.isBindingElement(element) ? namesOf(element.name) : [],
  );
}

function compile(files: Map<string, { snippet: Snippet; text: string }>): string[] {
  const host = ts.createCompilerHost(OPTIONS);
  const program = ts.createProgram([...PRELUDES, ...files.keys()], OPTIONS, {
    ...host,
    fileExists: (path) => files.has(path) || host.fileExists(path),
    readFile: (path) => files.get(path)?.text ?? host.readFile(path),
    getSourceFile: (path, languageVersion, ...rest) => {
      const text = files.get(path)?.text;
      return text === undefined
        ? host.getSourceFile(path, languageVersion, ...rest)
        : ts.createSourceFile(path, text, languageVersion);
    },
  });
  return [
    ...program.getOptionsDiagnostics(),
    ...program.getGlobalDiagnostics(),
    // One that is wrong would let everything pass.
    ...PRELUDES.flatMap((path) => diagnose(program, path)),
    ...[...files].flatMap(([path, { snippet }]) =>
      diagnose(program, path).filter(({ code }) => counts(code, snippet)),
    ),
  ].map((diagnostic) => {
    const { file, start = 0 } = diagnostic;
    const name = file?.fileName ?? '';
    const { page, line } = files.get(name)?.snippet ?? { page: basename(name), line: 1 };
    const offset = file?.getLineAndCharacterOfPosition(start).line ?? 0;
    const message = ts.flattenDiagnosticMessageText(diagnostic.messageText, '\n  ');
    return `${page}:${String(line + offset)}: ${message}`;
  });
}

function diagnose(program: ts.Program, path: string): ts.Diagnostic[] {
  const file = program.getSourceFile(path);
  return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)];
}

function counts(code: number, { language, isForeign = false }: Snippet): boolean {
  if (language === 'js' && UNTYPED.includes(code)) return false;
  return !isForeign || code < FIRST_OF_TYPES;
}
