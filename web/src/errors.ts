/** An error whose message the page shows as it is, after the name of the file. */
export class PageError extends Error {}
