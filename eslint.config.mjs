import tseslint from "typescript-eslint";

export default tseslint.config(
    { ignores: ["extension/dist/**", "extension/out/**", "extension/src/protocol.ts", "**/*.mjs"] },
    {
        files: ["extension/**/*.ts"],
        extends: [tseslint.configs.strictTypeChecked],
        languageOptions: {
            parserOptions: { project: "extension/tsconfig.json", tsconfigRootDir: import.meta.dirname },
        },
        rules: {
            // What fails and is not awaited is not seen by anybody.
            "@typescript-eslint/no-floating-promises": ["error", { ignoreVoid: true }],
            "@typescript-eslint/no-misused-promises": "error",
            "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
            "@typescript-eslint/consistent-type-imports": "error",
            "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_" }],
            eqeqeq: ["error", "always", { null: "ignore" }],
        },
    },
);
