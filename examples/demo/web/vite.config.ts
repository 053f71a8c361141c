import { defineConfig } from 'vite';

export default defineConfig({
  base: '/demo/',
  build: { outDir: '../dist/web', emptyOutDir: true },
});
