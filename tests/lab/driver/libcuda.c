/* A FAKE libcuda.so.1 for tests on machines without a GPU, and the outermost thing that is faked: where it lies, who finds
 * it and how it gets into a container are real. Answers the one question whether it is the one that was loaded. */
int gpubay_fake_cuda(void) { return 58065; }
