import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

// Wherever the server is mounted: addresses are relative to the page.
export default defineConfig({
  base: './',
  plugins: [react()],
  build: {
    outDir: 'dist/web',
    emptyOutDir: true,
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 900,
  },
});
