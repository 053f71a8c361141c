import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

// Wherever it is mounted: addresses are relative to the page.
export default defineConfig({
  base: './',
  plugins: [react()],
  build: { outDir: '../dist/web', emptyOutDir: true },
});
