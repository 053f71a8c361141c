import { defineConfig } from 'vite';

// Wherever it is mounted: addresses are relative to the page.
export default defineConfig({ base: './', build: { outDir: '../dist/web', emptyOutDir: true } });
