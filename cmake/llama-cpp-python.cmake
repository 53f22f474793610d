# How `make` compiles llama-cpp-python faster: the Makefile hands this file to its build as CMAKE_PROJECT_llama_cpp_INCLUDE.
# On two cores it takes two minutes instead of six. Nothing that computes is touched: ggml is compiled as ever.

# Python opens libllama and libggml. What llama.cpp's programs share, and images and sound, stay away.
set(LLAMA_BUILD_COMMON OFF)
set(LLAVA_BUILD OFF)
set(LLAMA_ALL_WARNINGS OFF)

# libllama reads files and puts graphs together; the numbers come from ggml.
function(ggufjac_optimise_llama_less)
  if(TARGET llama)
    target_compile_options(llama PRIVATE -O1)
  endif()
endfunction()
cmake_language(DEFER CALL ggufjac_optimise_llama_less)
