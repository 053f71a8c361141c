#!/usr/bin/env node
// Kept apart from dist/ so that npm can link the command before the first build.
import '../dist/cli.js';
