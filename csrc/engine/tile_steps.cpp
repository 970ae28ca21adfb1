#include "engine/tile_steps.h"

#include <chrono>
#include <utility>

#include "core/error.h"
#include "core/polling.h"
#include "kernels/resample_axis.h"
#include "kernels/resample_table.h"
#include "kernels/softmax.h"
#include "kernels/window_hu.h"

namespace covfast {
namespace {

int64_t count(const Shape& shape) { return shape.channels * shape.size[0] * shape.size[1] * shape.size[2]; }

// Linear resampling, one axis after the other, last axis first: it shrinks the rows that the next pass reads.
class ResampleStep : public TileStep {
public:
    ResampleStep(Shape in, std::array<int64_t, 3> size, bool antialias, const Context& context)
        : in_(in), out_(in), context_(context) {
        for (int axis = 2; axis >= 0; --axis) {
            if (size[axis] == 0 || size[axis] == out_.size[axis]) continue;
            passes_.push_back({axis, linear_table(out_.size[axis], size[axis], antialias), {}, nullptr});
            out_.size[axis] = size[axis];
        }
    }
    const char* name() const override { return "resample"; }
    Shape out_shape() const override { return out_; }

    // One buffer behind each pass but the last, which writes the step's output.
    void plan(Arena& arena) override {
        Shape shape = in_;
        for (Pass& pass : passes_) {
            shape.size[pass.axis] = pass.table.n_out;
            if (&pass != &passes_.back()) pass.slot = arena.plan<float>(count(shape));
        }
    }
    void attach(const Arena& arena) override {
        for (Pass& pass : passes_) pass.result = arena.get(pass.slot);
    }

    void run(const float* x, float* y, const Progress&) override {
        Shape shape = in_;
        if (passes_.empty()) std::copy(x, x + count(in_), y);
        for (Pass& pass : passes_) {
            float* to = &pass == &passes_.back() ? y : pass.result;
            int64_t outer = shape.channels, inner = 1;
            for (int axis = 0; axis < pass.axis; ++axis) outer *= shape.size[axis];
            for (int axis = pass.axis + 1; axis < 3; ++axis) inner *= shape.size[axis];
            resample_axis({x, outer, pass.table.n_in, inner, pass.table.n_out, pass.table.taps, pass.table.first.data(),
                           pass.table.weight.data(), to},
                          context_);
            shape.size[pass.axis] = pass.table.n_out;
            x = to;
        }
    }

private:
    struct Pass {
        int axis;
        ResampleTable table;
        Slot<float> slot;
        float* result;
    };
    Shape in_, out_;
    std::vector<Pass> passes_;
    Context context_;
};

// y[c] = (x - mean[c]) / std[c]; a single channel is repeated.
class NormaliseStep : public TileStep {
public:
    NormaliseStep(Shape in, const stage::Normalise& params) : params_(params), in_(in), out_(in) {
        out_.channels = static_cast<int64_t>(params.mean.size());
        COVFAST_REQUIRE(in.channels == 1 || in.channels == out_.channels, FORMAT, "recipe stage 'normalise': got ",
                        out_.channels, " means for ", in.channels, " channels, expected one per channel");
    }
    const char* name() const override { return "normalise"; }
    Shape out_shape() const override { return out_; }

    void run(const float* x, float* y, const Progress&) override {
        const int64_t voxels = count(in_) / in_.channels;
        for (int64_t c = 0; c < out_.channels; ++c) {
            const float* from = in_.channels == 1 ? x : x + c * voxels;
            const float mean = params_.mean[c], scale = 1.0f / params_.std[c];
            for (int64_t i = 0; i < voxels; ++i) y[c * voxels + i] = (from[i] - mean) * scale;
        }
    }

private:
    stage::Normalise params_;
    Shape in_, out_;
};

class NetworkStep : public TileStep {
public:
    NetworkStep(Shape in, std::shared_ptr<const Network> network, const Context& context)
        : session_(check(in, std::move(network)), context, in.size) {}
    const char* name() const override { return "network"; }
    Shape out_shape() const override { return session_.out_shape(); }
    void run(const float* x, float* y, const Progress& progress) override { session_.run(x, y, 1, progress); }

private:
    static std::shared_ptr<const Network> check(const Shape& in, std::shared_ptr<const Network> network) {
        COVFAST_REQUIRE(in.channels == network->in_channels(), FORMAT, "recipe stage 'network': got ", in.channels,
                        " channels, expected ", network->in_channels(), ", the network's input");
        return network;
    }
    Session session_;
};

class SoftmaxStep : public TileStep {
public:
    SoftmaxStep(Shape in, const Context& context) : shape_(in), context_(context) {}
    const char* name() const override { return "softmax"; }
    Shape out_shape() const override { return shape_; }
    void run(const float* x, float* y, const Progress&) override {
        softmax({x, y, 1, shape_.channels, count(shape_) / shape_.channels, false}, context_);
    }

private:
    Shape shape_;
    Context context_;
};

class ChannelStep : public TileStep {
public:
    ChannelStep(Shape in, int64_t index) : out_{1, in.size}, index_(index) {
        COVFAST_REQUIRE(index < in.channels, FORMAT, "recipe stage 'channel': got index ", index, ", expected 0 to ",
                        in.channels - 1);
    }
    const char* name() const override { return "channel"; }
    Shape out_shape() const override { return out_; }
    void run(const float* x, float* y, const Progress&) override {
        std::copy(x + index_ * count(out_), x + (index_ + 1) * count(out_), y);
    }

private:
    Shape out_;
    int64_t index_;
};

// One step for each kind of stage.
struct MakeStep {
    Shape in;
    std::array<int64_t, 3> tile_size;
    const std::shared_ptr<const Network>& network;
    const Context& context;

    using Step = std::unique_ptr<TileStep>;
    Step operator()(const stage::Window&) const {
        fail(Code::FORMAT, "recipe stage 'window': got it behind another, expected it first of the tile stages");
    }
    Step operator()(const stage::Resample& s) const {
        return std::make_unique<ResampleStep>(in, s.size, s.antialias, context);
    }
    Step operator()(const stage::Normalise& s) const { return std::make_unique<NormaliseStep>(in, s); }
    Step operator()(const stage::RunNetwork&) const { return std::make_unique<NetworkStep>(in, network, context); }
    Step operator()(const stage::Softmax&) const { return std::make_unique<SoftmaxStep>(in, context); }
    Step operator()(const stage::Channel& s) const { return std::make_unique<ChannelStep>(in, s.index); }
    Step operator()(const stage::ResampleBack&) const {
        return std::make_unique<ResampleStep>(in, tile_size, false, context);
    }
};

double ms_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

TileChain::TileChain(const Recipe& recipe, std::shared_ptr<const Network> network, const CaseInput& input,
                     std::array<int64_t, 3> tile_size, const Context& context)
    : input_(input),
      window_(std::get<stage::Window>(recipe.tile_stages.front())),
      tile_size_(tile_size),
      context_(context),
      tile_(arena_.plan<float>(tile_size[0] * tile_size[1] * tile_size[2])),
      ms_(1) {
    Shape shape{1, tile_size};
    for (size_t i = 1; i < recipe.tile_stages.size(); ++i) {
        steps_.push_back(std::visit(MakeStep{shape, tile_size, network, context}, recipe.tile_stages[i]));
        shape = steps_.back()->out_shape();
        buffers_.push_back(arena_.plan<float>(count(shape)));
        steps_.back()->plan(arena_);
        ms_.push_back(0);
    }
    COVFAST_REQUIRE(shape.channels == 1 && shape.size == tile_size, FORMAT, "recipe: got tiles of ", shape.channels,
                    " channels, ", shape.size[0], "x", shape.size[1], "x", shape.size[2],
                    " behind the last tile stage, expected one channel of the tile's own size, ", tile_size[0], "x",
                    tile_size[1], "x", tile_size[2]);
    arena_.commit();
    for (const auto& step : steps_) step->attach(arena_);
}

void TileChain::window(std::array<int64_t, 3> origin) {
    WindowHuParams params{input_.hu, input_.is_float, {}, {}, window_.low_hu, window_.high_hu, arena_.get(tile_)};
    int64_t offset = 0;
    for (int axis = 0; axis < 3; ++axis) {
        params.size[axis] = tile_size_[axis];
        params.stride[axis] = input_.stride[axis];
        offset += origin[axis] * input_.stride[axis];
    }
    params.x = input_.is_float ? static_cast<const void*>(static_cast<const float*>(input_.hu) + offset)
                               : static_cast<const void*>(static_cast<const int16_t*>(input_.hu) + offset);
    window_hu(params, context_);
}

const float* TileChain::run(std::array<int64_t, 3> origin, const Progress& progress) {
    const PollScope scope(progress, "tile", 0, 1);  // the other steps poll too, where a tile is large
    auto start = std::chrono::steady_clock::now();
    window(origin);
    ms_[0] += ms_since(start);
    const float* x = arena_.get(tile_);
    for (size_t i = 0; i < steps_.size(); ++i) {
        start = std::chrono::steady_clock::now();
        float* y = arena_.get(buffers_[i]);
        steps_[i]->run(x, y, progress);
        ms_[i + 1] += ms_since(start);
        x = y;
    }
    return x;
}

std::vector<StageTime> TileChain::times() const {
    std::vector<StageTime> times{{"window", ms_[0]}};
    for (size_t i = 0; i < steps_.size(); ++i) {
        const std::string name = steps_[i]->name();
        bool known = false;
        for (StageTime& time : times)
            if (time.stage == name) time.ms += ms_[i + 1], known = true;
        if (!known) times.push_back({name, ms_[i + 1]});
    }
    return times;
}

}  // namespace covfast
