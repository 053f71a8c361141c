#!/usr/bin/env node
// Kept apart from dist/ so that npm can link the command before the first build.
import { main } from '../dist/cli.js';

main();
